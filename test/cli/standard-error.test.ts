import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { capture } from "../../scripts/lib/capture.ts";
import { mcpgwLine } from "../support/mcpgw.ts";
import { bareEnv, sample } from "../support/sample.ts";

// Each command is a process, which can take long on a busy machine.
setDefaultTimeout(30_000);

const program = sample();
beforeAll(() => program.start());
afterAll(() => program.close());

// Both ends are open before the reading end is closed, so every write fails.
const noReader = "fifo=$(mktemp -u); mkfifo $fifo; exec 3<>$fifo 4>$fifo 3<&-; rm $fifo; exec 2>&4";

test.each([
  ["audit verify --checkpoint /nowhere", 2],
  ["keys create name consumer role", 0],
  ["keys lst", 2],
  ["servers restart broken", 1],
  ["status --socket /nowhere", 4],
])("the exit code of %s is %p, even if writing to standard error fails", async (words, code) => {
  for (const [first, to] of [
    ["true", ""],
    [noReader, ""],
    ["true", "2> /dev/full"],
  ] as const) {
    const line = `mcpgw() { ${mcpgwLine()} "$@"; }; ${first}; mcpgw ${words} ${to}`;
    const env = { ...bareEnv(program.directory), MCPGW_SOCKET: program.socket };
    expect({ to, ...(await capture(["bash", "-c", line], { env })) }).toMatchObject({ to, code });
  }
});
