import type { Cli } from "../../src/cli/cli.ts";
import { group } from "../../src/cli/command.ts";
import { audit } from "../../src/cli/commands/audit.ts";
import { config } from "../../src/cli/commands/config.ts";
import { keys } from "../../src/cli/commands/keys.ts";
import { servers } from "../../src/cli/commands/servers.ts";
import { status } from "../../src/cli/commands/status.ts";
import { tail } from "../../src/cli/commands/tail.ts";
import { tools } from "../../src/cli/commands/tools.ts";
import { usage } from "../../src/cli/commands/usage.ts";
import { why } from "../../src/cli/commands/why.ts";
import { Failed } from "../../src/cli/errors.ts";
import { readLine } from "../../src/cli/line.ts";
import { createOutput } from "../../src/cli/output.ts";

const program = group("", { audit, config, keys, servers, status, tail, tools, usage, why });

/** Returns a stream that keeps what is written to it, is full, or has lost its reader. */
export function stream(isTTY: boolean, columns: number, full: boolean | "left" = false) {
  const written: string[] = [];
  const write = (text: string, done?: (error?: Error) => void): boolean => {
    if (!full) written.push(text);
    const fault =
      full === "left" ? Object.assign(new Error("broken pipe"), { code: "EPIPE" }) : new Error("no space left");
    done?.(full ? fault : undefined);
    return true;
  };
  // Only the part of a stream that the output uses.
  const fake = { isTTY, columns, write, on: () => fake, listeners: () => [] } as unknown as NodeJS.WriteStream;
  return { fake, written };
}

/** Answers requests to the daemon. */
type Ask = (name: string, input: unknown) => unknown;

type Place = { terminal?: boolean; online?: boolean; full?: boolean | "left" };

/** Runs a command in this process against a daemon that answers with `ask`. Returns its output and daemon options. */
export async function run(text: string, ask: Ask, { terminal = false, online = true, full = false }: Place = {}) {
  const { command, given, globals } = await readLine(program, text.split(" "));
  if ("commands" in command) throw new Error(`${text} names no command`);
  const [out, err] = [stream(terminal, 200, full), stream(terminal, 200)];
  const opened: unknown[] = [];
  let closed = 0;
  const client = {
    online,
    call: async (name: string, input: unknown) => ask(name, input),
    stream: (name: string, input: unknown) => ask(name, input),
    close: () => void closed++,
  };
  const cli = {
    globals,
    out: createOutput({ out: out.fake, err: err.fake, json: globals.json, color: globals.color }),
    open: async (options: unknown) => (opened.push(options), client),
  };
  // Only the part of a command line that commands without their own daemon use.
  const code = await command.run(given, cli as unknown as Cli).catch((error: unknown) => {
    err.written.push(`${String(error)}\n`);
    return error instanceof Failed ? error.exit : 1;
  });
  return { code, out: out.written.join(""), err: err.written.join(""), opened, closed };
}
