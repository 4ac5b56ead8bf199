import { parseArgs, type ArgsDef, type ParsedArgs } from "citty";
import type { Cli } from "./cli.ts";

/** A command: its arguments as citty knows them, and what it does. */
export type Command = {
  readonly name: string;
  readonly summary: string;
  readonly args: ArgsDef;
  /** The name of further positional arguments; null if there are none. */
  readonly rest: string | null;
  /** Runs with arguments that `readLine` accepted; resolves to the exit code. */
  run(raw: string[], cli: Cli): Promise<number>;
};

/** Commands under a common first word, each loaded when it is asked for. */
export type Group = {
  readonly name: string;
  readonly summary: string;
  readonly commands: Readonly<Record<string, () => Promise<Command | Group>>>;
};

type Definition<A extends ArgsDef> = {
  readonly name: string;
  readonly summary: string;
  readonly args: A;
  readonly rest?: string;
  run(args: ParsedArgs<A>, cli: Cli): Promise<number | void> | number | void;
};

/** A command made from its definition; it exits 0 if `run` returns no number. */
export function command<const A extends ArgsDef>({ name, summary, args, rest, run }: Definition<A>): Command {
  return {
    name,
    summary,
    args,
    rest: rest ?? null,
    run: async (raw, cli) => (await run(parseArgs<A>(raw, args), cli)) ?? 0,
  };
}

/** A group of commands that are loaded already. */
export function group(name: string, summary: string, commands: readonly Command[]): Group {
  return { name, summary, commands: Object.fromEntries(commands.map((one) => [one.name, async () => one])) };
}
