import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Place } from "../support/daemon.ts";

// The key that signs checkpoints belongs to one log; a new one is made only where there is no log.

// Each command is a process; on a busy machine that takes its time.
setDefaultTimeout(30_000);

test("R9 A03 A14 no signing key is made where a log, or a store that knows one, is left: the start is refused", async () => {
  using place = new Place({ servers: [], policies: [] });
  await place.newKey("agent");
  const key = join(place.state, "signing.key");
  const refused = async (): Promise<void> => {
    for (const args of [
      ["daemon", "--listen", "127.0.0.1:0"],
      ["keys", "create", "A", "agent", "user"],
    ]) {
      const ran = await place.cli(args);
      expect([ran.code === 0, ran.stderr]).toEqual([false, expect.stringContaining("signing.key is missing")]);
    }
    expect(existsSync(key)).toBe(false);
  };
  rmSync(key);
  await refused();
  const audit = join(place.state, "audit");
  for (const name of readdirSync(audit)) rmSync(join(audit, name));
  await refused();
  for (const name of readdirSync(place.state).filter((file) => file.startsWith("mcpgw.db"))) {
    rmSync(join(place.state, name));
  }
  await place.newKey("agent");
  expect(existsSync(key)).toBe(true);
});
