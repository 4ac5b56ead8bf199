import { ignoredConfigHint, thisHost } from "../config/paths.ts";
import { findSocket } from "../config/client-socket.ts";
import { ConfigError } from "../config/problem.ts";
import { connect, type ConnectOptions, givenKey } from "../control/client.ts";
import { Refusal, Unanswered, Unreachable } from "../control/refusal.ts";
import type { Client } from "../control/contract.ts";
import { messageOf } from "../core/error-text.ts";
import { priorityMarks } from "../core/journal.ts";
import { plain } from "../core/text.ts";
import type { Cli, Deps, OpenOptions } from "./cli.ts";
import type { Group } from "./command.ts";
import { exit, Failed, UsageError } from "./errors.ts";
import { meant, readLine, type Line } from "./line.ts";
import { createOutput, ReaderLeft, write } from "./output.ts";

function createCli(line: Line, deps: Deps, version: string): Cli {
  const { globals } = line;
  const out = createOutput({ out: process.stdout, err: process.stderr, json: globals.json, color: globals.color });
  let last: Client | null = null;
  // A command that waits for a daemon connects many times, but should report each message only once.
  const told = new Set<string>();
  const once = (tell: (text: string) => void, text: string): void => {
    if (!told.has(text)) tell(text);
    told.add(text);
  };
  const online = async ({ local = false, patience }: OpenOptions): Promise<Client> => {
    const key = givenKey();
    const { resolving } = deps;
    const runsWith = (at: string, file: string) => isDaemonOf(at, file, { version, patience });
    const { socket, doubt } = await findSocket(thisHost(), { ...globals, local }, { resolving, runsWith });
    if (doubt !== null) once(out.warn, doubt);
    const client = await connect(socket, { version, key, patience });
    if (client.hello.version !== version)
      once(
        out.say,
        `mcpgw: this is ${version}, but the daemon is ${client.hello.version}; restart the daemon, or use its mcpgw`,
      );
    return client;
  };
  return {
    deps,
    globals,
    out,
    async open(options = {}) {
      try {
        last = await online(options);
      } catch (error) {
        if (!(error instanceof Unreachable)) throw error;
        if (!options.offline)
          throw new Unreachable(error.message + (options.local ? "" : ignoredConfigHint(thisHost(), globals)));
        last = await deps.offline(globals);
      }
      return last;
    },
    close: () => last?.close(),
  };
}

async function isDaemonOf(socket: string, file: string, options: ConnectOptions): Promise<boolean> {
  try {
    const client = await connect(socket, options);
    const { config } = await client.call("status", {}).finally(() => client.close());
    return config === file;
  } catch {
    return false;
  }
}

/** Reports an error on standard error; returns the exit code. */
function report(error: unknown): number {
  // The reader of the output stopped early, which is not an error.
  if (error instanceof ReaderLeft) return exit.done;
  const message = messageOf(error);
  const mark = priorityMarks()("error");
  const lines = `mcpgw: ${message}`.split("\n").map((line) => mark + plain(line));
  process.stderr.write(`${lines.join("\n")}\n`);
  if (error instanceof Failed) return error.exit;
  if (error instanceof Unreachable || error instanceof Unanswered) return exit.unreachable;
  if (error instanceof Refusal) return error.code === "invalid" ? exit.usage : exit.failed;
  return error instanceof ConfigError ? exit.usage : exit.failed;
}

/** Runs a command line; resolves to the exit code. Nothing runs unless every argument is valid. */
export async function runLine(program: Group, argv: readonly string[], deps: Deps, version: string): Promise<number> {
  // Standard error may be closed or its disk full; lost messages must not change the outcome of the command.
  process.stderr.on("error", () => {});
  try {
    const line = await readLine(program, argv[0] === "help" ? ["--help", ...argv.slice(1)] : argv);
    const { command, path } = line;
    if (line.version) {
      await write(process.stdout, line.globals.json ? `${JSON.stringify({ version }, null, 2)}\n` : `${version}\n`);
      return exit.done;
    }
    if (line.help || "commands" in command) {
      const { helpText } = await import("./help.ts");
      const text = await helpText(command, path);
      if (line.help) await write(process.stdout, text);
      else process.stderr.write(text);
      return line.help ? exit.done : exit.usage;
    }
    const cli = createCli(line, deps, version);
    try {
      return await command.run(line.given, cli);
    } finally {
      cli.close();
    }
  } catch (error) {
    const code = report(error);
    if (error instanceof UsageError) {
      const command = ["mcpgw", ...(await meant(program, argv)), "--help"].join(" ");
      process.stderr.write(`see \`${command}\`\n`);
    }
    return code;
  }
}
