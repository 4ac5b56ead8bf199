import type { ArgDef, ArgsDef } from "citty";
import type { Cli } from "./cli.ts";

/** What a command line gives to its command: words, and flags by name, null for one that takes no value. */
export type Given = { readonly words: readonly string[]; readonly flags: ReadonlyMap<string, string | null> };

/** A command: its arguments as citty describes them, and what it does. */
export type Command = {
  readonly summary: string;
  readonly args: ArgsDef;
  /** The name of further positional arguments; null if there are none. */
  readonly rest: string | null;
  /** Runs with what `readLine` accepted; resolves to the exit code. */
  run(given: Given, cli: Cli): Promise<number>;
};

/** Commands under a common first word, each loaded when it is asked for. */
export type Group = {
  readonly summary: string;
  readonly commands: Readonly<Record<string, () => Promise<Command | Group>>>;
};

type Value<D extends ArgDef> = D extends { type: "boolean" }
  ? boolean
  : D extends { type: "enum"; options: readonly (infer Option)[] }
    ? Option | undefined
    : D extends { type: "positional"; required: true }
      ? string
      : string | undefined;

/** The values of arguments by name; `_` has all words. */
type Values<A extends ArgsDef> = { readonly [N in keyof A]: Value<A[N]> } & { readonly _: readonly string[] };

type Definition<A extends ArgsDef> = {
  readonly summary: string;
  readonly args: A;
  readonly rest?: string;
  run(args: Values<A>, cli: Cli): Promise<number | void> | number | void;
};

/** A command made from its definition; it exits 0 if `run` returns no number. */
export function command<const A extends ArgsDef>({ summary, args, rest, run }: Definition<A>): Command {
  return {
    summary,
    args,
    rest: rest ?? null,
    run: async (given, cli) => (await run(valuesOf(args, given), cli)) ?? 0,
  };
}

function valuesOf<A extends ArgsDef>(args: A, { words, flags }: Given): Values<A> {
  const left = [...words];
  const values = Object.entries(args).map(([name, { type }]) => {
    if (type === "positional") return [name, left.shift()];
    return [name, type === "boolean" ? flags.has(name) : flags.get(name)];
  });
  return { ...Object.fromEntries(values), _: words } as Values<A>; // `readLine` has checked them by these definitions
}

/** A group of commands that are loaded already. */
export function group(summary: string, commands: Readonly<Record<string, Command | Group>>): Group {
  return {
    summary,
    commands: Object.fromEntries(Object.entries(commands).map(([name, one]) => [name, async () => one])),
  };
}
