import type { ArgsDef } from "citty";
import { nearest } from "../core/nearest.ts";
import type { GlobalOptions } from "./cli.ts";
import type { Command, Given, Group } from "./command.ts";
import { UsageError } from "./errors.ts";

/** Flags that every command accepts, before or after its name. */
export const globalFlags = {
  config: { type: "string", valueHint: "FILE", description: "configuration file (MCPGW_CONFIG)" },
  state: { type: "string", valueHint: "DIR", description: "state directory (MCPGW_STATE)" },
  socket: { type: "string", valueHint: "PATH", description: "control socket (MCPGW_SOCKET)" },
  json: { type: "boolean", description: "print JSON" },
  "no-color": { type: "boolean", description: "never color the output" },
  help: { type: "boolean", alias: "h", description: "show this help" },
  version: { type: "boolean", description: "print the version" },
} as const satisfies ArgsDef;

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

/** Reads one flag; throws a `UsageError` if the flag is not defined or its value is invalid. */
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
      `${written}: "${value}" is not one of ${def.options?.join(", ")}${hint(value, def.options ?? [])}`,
    );
  return { name, value, takes: equals < 0 };
}

/** A command line that is consumed from the start, and the flags read so far. */
type Tokens = {
  readonly flags: ReadonlyMap<string, string | null>;
  /** Consumes tokens until there are `most` words or no tokens left; `defs` defines the flags among them. */
  words(defs: ArgsDef, most: number): string[];
};

/** Splits a command line into words and flags. After `--`, which no flag takes as a value, every token is a word. */
function tokensOf(argv: readonly string[]): Tokens {
  const flags = new Map<string, string | null>();
  const mark = argv.indexOf("--");
  const end = mark < 0 ? argv.length : mark;
  let at = 0;
  return {
    flags,
    words(defs, most) {
      const words: string[] = [];
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
      return words;
    },
  };
}

function checkWords(command: Command, words: readonly string[], path: string): void {
  const positionals = Object.entries(command.args).filter(([, def]) => def.type === "positional");
  const needed = positionals.filter(([, def]) => def.required !== false).map(([name]) => name.toUpperCase());
  const missing = needed.slice(words.length);
  if (missing.length > 0) throw new UsageError(`${path} needs ${missing.join(" ")}`);
  const surplus = words[positionals.length];
  if (surplus !== undefined && command.rest === null) throw new UsageError(`${path}: unexpected argument "${surplus}"`);
}

const below = ({ commands }: Group, word: string) => (Object.hasOwn(commands, word) ? commands[word] : undefined);

/** Returns the words of an invalid command line that name a command or group, for the hint about its help. */
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

async function descend(from: Group, tokens: Tokens) {
  const path: string[] = [];
  let command: Command | Group = from;
  while ("commands" in command) {
    const [word] = tokens.words(globalFlags, 1);
    if (word === undefined) break;
    const next = below(command, word);
    if (!next)
      throw new UsageError(
        `unknown command "${[...path, word].join(" ")}"${hint(word, Object.keys(command.commands))}`,
      );
    command = await next();
    path.push(word);
  }
  return { command, path };
}

/**
 * Finds the command and checks every argument before anything runs. Throws a `UsageError`, with the nearest known word
 * as a suggestion. If the line asks for help or the version, missing and extra words are not reported.
 */
export async function readLine(program: Group, argv: readonly string[]): Promise<Line> {
  const tokens = tokensOf(argv);
  const { flags } = tokens;
  const { command, path } = await descend(program, tokens);
  const args = "commands" in command ? {} : command.args;
  const words = tokens.words({ ...globalFlags, ...args }, Infinity);
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
