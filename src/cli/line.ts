import type { ArgsDef } from "citty";
import type { GlobalOptions } from "../core/global-options.ts";
import { nearest } from "../core/nearest.ts";
import type { Command, Given, Group } from "./command.ts";
import { UsageError } from "./errors.ts";

/** Flags that every command takes, on either side of it. */
export const globalFlags = {
  config: { type: "string", valueHint: "FILE", description: "configuration file (MCPGW_CONFIG)" },
  state: { type: "string", valueHint: "DIR", description: "state directory (MCPGW_STATE)" },
  socket: { type: "string", valueHint: "PATH", description: "control socket (MCPGW_SOCKET)" },
  json: { type: "boolean", description: "print JSON" },
  "no-color": { type: "boolean", description: "never colour the output" },
  help: { type: "boolean", alias: "h", description: "show this help" },
  version: { type: "boolean", description: "print the version" },
} as const satisfies ArgsDef;

/** A command line that was read and found correct. */
export type Line = {
  readonly command: Command | Group;
  readonly path: readonly string[];
  readonly given: Given;
  readonly globals: GlobalOptions;
  readonly help: boolean;
  readonly version: boolean;
};

type Flag = { readonly name: string; readonly value: string | null; readonly takes: boolean };

const hint = (text: string, names: readonly string[]): string => {
  const near = nearest(text, names);
  return near ? `; did you mean ${near}?` : "";
};

/** Reads one flag; throws if the definitions have no such flag or its value is wrong. */
function readFlag(token: string, next: string | undefined, defs: ArgsDef): Flag {
  const equals = token.indexOf("=");
  const written = equals < 0 ? token : token.slice(0, equals);
  const flags = Object.entries(defs).filter(([, { type }]) => type !== "positional");
  const found = flags.find(
    ([name, def]) => written === `--${name}` || ("alias" in def && written === `-${String(def.alias)}`),
  );
  if (!found) {
    const near = hint(
      written,
      flags.map(([name]) => `--${name}`),
    );
    throw new UsageError(`unknown flag ${written}${near}`);
  }
  const [name, def] = found;
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

type Flags = Map<string, string | null>;

/**
 * Reads tokens from `from` on until there are `most` words or no tokens, and adds their flags to `flags`. After `--`,
 * which is never the value of a flag, every token is a word.
 */
function read(argv: readonly string[], from: number, defs: ArgsDef, flags: Flags, most: number) {
  const words: string[] = [];
  const mark = argv.indexOf("--");
  const end = mark < 0 ? argv.length : mark;
  let at = from;
  for (; at < argv.length && words.length < most; at++) {
    const token = argv[at] ?? "";
    if (at === end) continue;
    if (at > end || !token.startsWith("-") || token === "-") {
      words.push(token);
      continue;
    }
    const flag = readFlag(token, argv[at + 1], defs);
    if (flags.has(flag.name)) throw new UsageError(`--${flag.name} is given twice`);
    flags.set(flag.name, flag.value);
    if (flag.takes) at++;
  }
  return { words, at };
}

function checkWords(command: Command, words: readonly string[], path: string): void {
  const positionals = Object.entries(command.args).filter(([, def]) => def.type === "positional");
  const needed = positionals.filter(([, def]) => def.required !== false).map(([name]) => name.toUpperCase());
  const missing = needed.slice(words.length);
  if (missing.length > 0) throw new UsageError(`${path} needs ${missing.join(" ")}`);
  const surplus = words[positionals.length];
  if (surplus !== undefined && command.rest === null)
    throw new UsageError(`${path} takes no further argument: "${surplus}"`);
}

const below = ({ commands }: Group, word: string) => (Object.hasOwn(commands, word) ? commands[word] : undefined);

/** The words of the command that a line with mistakes means, as far as it names one. */
export async function meant(from: Group, argv: readonly string[]): Promise<string[]> {
  const path: string[] = [];
  let command: Command | Group = from;
  for (const word of argv) {
    const next: ReturnType<typeof below> = "commands" in command ? below(command, word) : undefined;
    if (!next) continue;
    command = await next();
    path.push(word);
  }
  return path;
}

async function descend(from: Group, argv: readonly string[], flags: Flags) {
  const path: string[] = [];
  let command: Command | Group = from;
  let at = 0;
  while ("commands" in command) {
    const first = read(argv, at, globalFlags, flags, 1);
    at = first.at;
    const [word] = first.words;
    if (word === undefined) break;
    const next = below(command, word);
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
  const flags: Flags = new Map();
  const { command, path, at } = await descend(program, argv, flags);
  const args = "commands" in command ? {} : command.args;
  const { words } = read(argv, at, { ...globalFlags, ...args }, flags, Infinity);
  const help = flags.has("help");
  const version = flags.has("version");
  if (!help && !version && !("commands" in command)) checkWords(command, words, path.join(" "));
  const globals = {
    config: flags.get("config") ?? undefined,
    state: flags.get("state") ?? undefined,
    socket: flags.get("socket") ?? undefined,
    json: flags.has("json"),
    color: !flags.has("no-color"),
  };
  return { command, path, given: { words, flags }, globals, help, version };
}
