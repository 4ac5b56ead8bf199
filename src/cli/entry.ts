import { wasClosed } from "./descriptor.ts";
import type { Deps } from "./cli.ts";
import type { Group } from "./command.ts";

/** Runs the command line of the executable; resolves to the exit code. */
export async function enter(program: Group, argv: readonly string[], deps: Deps, version: string): Promise<number> {
  // `--version` is answered before anything else is loaded.
  if (argv.length === 1 && argv[0] === "--version") return printVersion(version);
  if (argv[0] === "__reaper" && argv[1] !== undefined) {
    await deps.reaper(argv[1]);
    return 0;
  }
  const { runLine } = await import("./run.ts");
  return runLine(program, argv, deps, version);
}

function printVersion(version: string): number {
  const fail = (message: string): never => {
    process.stderr.write(`mcpgw: ${message}\n`);
    process.exit(1);
  };
  if (wasClosed(1)) fail("standard output is closed");
  process.stdout.on("error", ({ message }: Error) => fail(message));
  process.stdout.write(`${version}\n`);
  return 0;
}
