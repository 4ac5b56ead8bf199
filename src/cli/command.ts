import type { ArgDef, ArgsDef } from "citty";
import type { Cli } from "./cli.ts";

/** The parsed arguments of a command: words, and flags by name; the value is null for a flag that takes none. */
export type Given = { readonly words: readonly string[]; readonly flags: ReadonlyMap<string, string | null> };

export type Command = {
  readonly summary: string;
  readonly args: ArgsDef;
  /** Name of the variadic positional arguments in the usage line; null if the command accepts none. */
  readonly rest: string | null;
  /** Runs with the arguments that `readLine` accepted; resolves to the exit code. */
  run(given: Given, cli: Cli): Promise<number>;
};

/** Commands under a common first word; each is loaded on demand. */
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

/** Argument values by name; `_` holds all words. */
type Values<A extends ArgsDef> = { readonly [N in keyof A]: Value<A[N]> } & { readonly _: readonly string[] };

type Definition<A extends ArgsDef> = {
  readonly summary: string;
  readonly args: A;
  readonly rest?: string;
  run(args: Values<A>, cli: Cli): Promise<number | void> | number | void;
};

/** Builds a command from its definition; the exit code is 0 if `run` returns no number. */
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
  return { ...Object.fromEntries(values), _: words } as Values<A>; // `readLine` has checked them against `args`
}

/** Builds a group from commands that are already loaded. */
export function group(summary: string, commands: Readonly<Record<string, Command | Group>>): Group {
  return {
    summary,
    commands: Object.fromEntries(Object.entries(commands).map(([name, one]) => [name, async () => one])),
  };
}
