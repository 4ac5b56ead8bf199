import type { ArgsDef } from "citty";
import type { GlobalOptions } from "../core/global-options.ts";
import { nearest } from "../core/nearest.ts";
import type { Command, Group } from "./command.ts";
import { UsageError } from "./errors.ts";

/** Flags that every command takes, on either side of it. */
export const globalFlags = {
  config: { type: "string", valueHint: "FILE", description: "configuration file" },
  state: { type: "string", valueHint: "DIR", description: "state directory" },
  socket: { type: "string", valueHint: "PATH", description: "control socket" },
  json: { type: "boolean", description: "print JSON" },
  "no-color": { type: "boolean", description: "never colour the output" },
  help: { type: "boolean", alias: "h", description: "show this help" },
  version: { type: "boolean", description: "print the version" },
} as const satisfies ArgsDef;

/** A command line that was read and found correct. */
export type Line = {
  readonly command: Command | Group;
  /** Words that lead to the command. */
  readonly path: readonly string[];
  /** The command's own arguments. */
  readonly raw: string[];
  readonly globals: GlobalOptions;
  readonly help: boolean;
  readonly version: boolean;
};

type Flag = { readonly name: string; readonly value: string | null; readonly takes: boolean };

function find(defs: ArgsDef, written: string): string | null {
  for (const [name, def] of Object.entries(defs)) {
    if (def.type === "positional") continue;
    const alias = "alias" in def && def.alias !== undefined ? [def.alias].flat() : [];
    if (written === `--${name}` || alias.some((short) => written === `-${short}`)) return name;
  }
  return null;
}

const hint = (text: string, names: readonly string[]): string => {
  const near = nearest(text, names);
  return near ? `; did you mean ${near}?` : "";
};

/** Reads one flag; throws if the definitions have no such flag or its value is wrong. */
function readFlag(token: string, next: string | undefined, defs: ArgsDef): Flag {
  const equals = token.startsWith("--") ? token.indexOf("=") : -1;
  const written = equals < 0 ? token : token.slice(0, equals);
  const name = find(defs, written);
  const def = name === null ? undefined : defs[name];
  if (name === null || !def) {
    const known = Object.keys(defs).filter((key) => defs[key]?.type !== "positional");
    throw new UsageError(
      `unknown flag ${written}${hint(
        written,
        known.map((key) => `--${key}`),
      )}`,
    );
  }
  if (def.type === "boolean") {
    if (equals >= 0) throw new UsageError(`${written} takes no value`);
    return { name, value: null, takes: false };
  }
  const value = equals < 0 ? next : token.slice(equals + 1);
  if (value === undefined || value === "" || (equals < 0 && value.startsWith("--")))
    throw new UsageError(`${written} needs a value`);
  if (def.type === "enum" && !def.options?.includes(value))
    throw new UsageError(
      `${written}: "${value}" is none of ${def.options?.join(", ")}${hint(value, def.options ?? [])}`,
    );
  return { name, value, takes: equals < 0 };
}

type Reading = { readonly seen: Map<string, string | null>; readonly raw: string[]; readonly words: string[] };

/** Reads tokens from `at` on until `stop` wants no more words; returns the index where it stopped. */
function read(argv: readonly string[], at: number, defs: ArgsDef, into: Reading, stop: () => boolean): number {
  let index = at;
  for (; index < argv.length && !stop(); index++) {
    const token = argv[index] ?? "";
    if (token === "--") {
      into.raw.push("--", ...argv.slice(index + 1));
      into.words.push(...argv.slice(index + 1));
      return argv.length;
    }
    if (!token.startsWith("-") || token === "-") {
      into.raw.push(token);
      into.words.push(token);
      continue;
    }
    const flag = readFlag(token, argv[index + 1], defs);
    if (into.seen.has(flag.name)) throw new UsageError(`--${flag.name} is given twice`);
    into.seen.set(flag.name, flag.value);
    if (!(flag.name in globalFlags))
      into.raw.push(...(flag.value === null ? [`--${flag.name}`] : [`--${flag.name}=${flag.value}`]));
    if (flag.takes) index++;
  }
  return index;
}

function checkWords(command: Command, words: readonly string[], path: string): void {
  const places = Object.entries(command.args).filter(([, def]) => def.type === "positional");
  const needed = places.filter(([, def]) => def.required !== false && def.default === undefined);
  const missing = needed[words.length];
  if (missing)
    throw new UsageError(
      `${path} needs ${needed
        .slice(words.length)
        .map(([name]) => name.toUpperCase())
        .join(" ")}`,
    );
  const surplus = words[places.length];
  if (surplus !== undefined && command.rest === null)
    throw new UsageError(`${path} takes no further argument: "${surplus}"`);
}

function checkRequired(command: Command, seen: ReadonlyMap<string, unknown>, path: string): void {
  for (const [name, def] of Object.entries(command.args)) {
    if (def.type !== "positional" && def.required && !seen.has(name)) throw new UsageError(`${path} needs --${name}`);
  }
}

async function descend(
  from: Group,
  argv: readonly string[],
  into: Reading,
): Promise<{ command: Command | Group; path: string[]; at: number }> {
  const path: string[] = [];
  let command: Command | Group = from;
  let at = 0;
  while ("commands" in command) {
    const before = into.words.length;
    at = read(argv, at, globalFlags, into, () => into.words.length > before);
    const word = into.words[before];
    if (word === undefined) break;
    const next: (() => Promise<Command | Group>) | undefined = Object.hasOwn(command.commands, word)
      ? command.commands[word]
      : undefined;
    if (!next)
      throw new UsageError(
        `unknown command "${[...path, word].join(" ")}"${hint(word, Object.keys(command.commands))}`,
      );
    command = await next();
    path.push(word);
  }
  return { command, path, at };
}

/**
 * Finds the command and checks every argument before anything runs. Throws a `UsageError` that names the nearest known
 * word. If the line asks for help or the version, only the command's name is checked.
 */
export async function readLine(program: Group, argv: readonly string[]): Promise<Line> {
  const into: Reading = { seen: new Map(), raw: [], words: [] };
  const { command, path, at } = await descend(program, argv, into);
  into.raw.length = 0;
  into.words.length = 0;
  if (!("commands" in command)) read(argv, at, { ...globalFlags, ...command.args }, into, () => false);
  const { seen, raw, words } = into;
  const help = seen.has("help");
  const version = seen.has("version");
  if (!help && !version && !("commands" in command)) {
    const words0 = path.join(" ");
    checkWords(command, words, words0);
    checkRequired(command, seen, words0);
  }
  const globals = {
    config: seen.get("config") ?? undefined,
    state: seen.get("state") ?? undefined,
    socket: seen.get("socket") ?? undefined,
    json: seen.has("json"),
    color: !seen.has("no-color"),
  };
  return { command, path, raw, globals, help, version };
}
