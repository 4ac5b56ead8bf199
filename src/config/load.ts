import { dirname, resolve } from "node:path";
import { orNull } from "../core/attempt.ts";
import { type Finding, formatPath, type Path, valueAt } from "../core/finding.ts";
import { isObject } from "../core/json.ts";
import { maskable, maskValues, secretsIn } from "../core/secret.ts";
import { check, type ExaminePolicy } from "./checks.ts";
import { readSource, type Resolve, type Source } from "./document.ts";
import { bareDurations } from "./durations.ts";
import { missingFiles } from "./files.ts";
import { issueText } from "./issue-text.ts";
import { type Inert, literalSecrets, secretWarnings } from "./literal-secrets.ts";
import { findOlder, isSetByOtherSpelling } from "./older.ts";
import { applyOverrides, type Override, overrideOf } from "./overrides.ts";
import { ConfigError, type Problem, unplaced } from "./problem.ts";
import { configText, readConfigFile } from "./read.ts";
import { salvage } from "./salvage.ts";
import { type Config, configSchema } from "./schema.ts";
import { schemaFindings } from "./schema-findings.ts";

export type Loading = {
  /** `createResolver(…)`. */
  readonly resolve: Resolve;
  readonly inert: Inert;
  readonly examinePolicy: ExaminePolicy;
};

export type LoadOptions = Loading & {
  readonly overrides?: readonly Override[];
  /** Finds files that a checked configuration names but that are unusable; paths are relative to the directory. */
  readonly unusable?: (config: Config, directory: string) => Finding[];
};

export type Loaded = {
  readonly config: Config;
  readonly warnings: readonly Problem[];
  /** Secret values, which must not appear in any log, output or audit record. */
  readonly secrets: readonly string[];
  /** Absolute path of the file. */
  readonly file: string;
  /** SHA-256 of the file's bytes, hex. */
  readonly digest: string;
  /** Returns what set the value at a path. */
  readonly origin: (path: Path) => Origin;
  /** Adds the position in the file to a finding that was made later. */
  readonly locate: (finding: Finding) => Problem;
};

/** The origin of a value; for a reference, with its text instead of its value. */
export type Origin =
  | { readonly from: "default" | "file" }
  | { readonly from: "reference"; readonly text: string }
  | { readonly from: "override"; readonly name: string };

/**
 * Reads and checks a configuration file, substituting references. Throws ConfigError with everything that is wrong,
 * which includes missing files, or the findings of `unusable` if it is given.
 */
export function loadConfig(file: string, options: LoadOptions): Loaded {
  const path = resolve(file);
  return parseConfig(readConfigFile(path), path, { unusable: missingFiles, ...options });
}

/** Reports whether the file has changed or become unreadable since it was loaded. */
export const isEdited = ({ file, digest }: Loaded): boolean => orNull(() => digestOf(readConfigFile(file))) !== digest;

const digestOf = (bytes: Uint8Array): string => Bun.SHA256.hash(bytes, "hex");

const ownParts = [
  "state",
  "control",
  "audit",
  "auth",
  "policies",
  "usage",
] as const satisfies readonly (keyof Config)[];

/** The parts of a configuration about the gateway's own files and keys, with `locate` for findings in them. */
export type OwnParts = Pick<Config, (typeof ownParts)[number]> & Pick<Loaded, "locate">;

/** Loads only these parts, so that secrets that only servers need are not required. Throws ConfigError. */
export function loadOwnParts(file: string, substitute: Resolve): OwnParts {
  // `metering` is the older spelling of `usage`.
  const own: ReadonlySet<string> = new Set([...ownParts, "metering"]);
  const take = (value: unknown): unknown =>
    isObject(value) ? Object.fromEntries(Object.entries(value).filter(([top]) => own.has(top))) : value;
  const { config, locate } = loadPart(file, substitute, take);
  return { ...withAbsolutePaths(config, dirname(resolve(file))), locate };
}

/** Loads only the ids and tags of the servers; secrets are not required. Throws ConfigError. */
export function loadTags(file: string, substitute: Resolve): readonly Pick<Config["servers"][number], "id" | "tags">[] {
  const labels = (server: unknown): unknown =>
    // A builtin server needs no other options, so it stands in for each server.
    isObject(server) ? { builtin: "calculator", id: server["id"], tags: server["tags"] } : server;
  const take = (value: unknown): unknown => {
    if (!isObject(value)) return value;
    const { servers } = value;
    return { servers: Array.isArray(servers) ? servers.map(labels) : servers };
  };
  return loadPart(file, substitute, take).config.servers;
}

/** Checks the part of a file's data that `take` keeps in place; only references in that part must resolve. */
function loadPart(file: string, substitute: Resolve, take: (value: unknown) => unknown) {
  const path = resolve(file);
  const source = sourceFrom(readConfigFile(path), path, substitute);
  const locate = locator(source, path, []);
  const given = source.value();
  const taken = take(given);
  const unresolved = source.unresolved.filter(({ path: at }) => {
    const value = valueAt(taken, at);
    return value !== undefined && value === valueAt(given, at);
  });
  if (unresolved.length > 0) throw new ConfigError(unresolved.map(locate));
  const { config, problems } = checkShape(source, take);
  if (!config) throw new ConfigError(inOrder(problems.map(locate)));
  return { config, locate };
}

/** Does the work of `loadConfig` on bytes that were read from `file`; relative paths start at its directory. */
export function parseConfig(bytes: Uint8Array, file: string, options: LoadOptions): Loaded {
  const source = sourceFrom(bytes, file, options.resolve);
  const overrides = options.overrides ?? [];
  const { value, config, problems } = checkShape(source, (given) => applyOverrides(given, overrides));
  const older = findOlder(value);
  const readable = config ?? salvage(value, problems);
  const found = readable ? check(readable, options.examinePolicy, source.written) : { problems: [], warnings: [] };
  const unusable = readable ? (options.unusable?.(readable, dirname(file)) ?? []) : [];
  const locate = locator(source, file, overrides);
  const { unresolved } = source;
  const faults = [...problems, ...older.problems, ...found.problems, ...unusable];
  if (!config || unresolved.length > 0 || faults.length > 0) {
    // The text of an unresolved reference is not its value, so errors about the text are dropped.
    const sure = faults.filter(({ path }) => !unresolved.some((fault) => isWithin(path, fault.path)));
    const wrong = [...unresolved.map(locator(source, file, [])), ...sure.map(locate)];
    throw new ConfigError(inOrder(wrong));
  }
  const doubts = [...bareDurations(config, value), ...secretWarnings(config, source.written, options.inert)];
  return {
    config: withAbsolutePaths(config, dirname(file)),
    warnings: inOrder([...older.warnings, ...found.warnings, ...doubts].map(locate)),
    secrets: maskable([...source.secrets, ...literalSecrets(config)].flatMap(secretsIn)),
    file,
    digest: digestOf(bytes),
    origin: originIn(source, value, overrides),
    locate,
  };
}

const isWithin = (path: Path, outer: Path): boolean => outer.every((key, index) => path[index] === key);

const sourceFrom = (bytes: Uint8Array, file: string, substitute: Resolve): Source =>
  readSource(configText(bytes, file), file, substitute);

type Parsed = { readonly value: unknown; readonly config: Config | null; readonly problems: Finding[] };

// A reference yields a string. If the schema expects a number or a boolean, a second attempt converts it.
function checkShape(source: Source, prepare: (value: unknown) => unknown): Parsed {
  const attempt = (): Parsed => {
    const value = prepare(source.value());
    const parsed = configSchema.safeParse(value, { error: issueText });
    if (parsed.success) return { value, config: parsed.data, problems: [] };
    return { value, config: null, problems: schemaFindings(parsed.error.issues, value) };
  };
  const first = attempt();
  const retyped = first.problems.filter(({ path }) => source.retype(path));
  return retyped.length > 0 ? attempt() : first;
}

function locator(source: Source, file: string, overrides: readonly Override[]): (finding: Finding) => Problem {
  const secrets = maskable(source.secrets);
  return ({ path, key, message }) => {
    const override = overrideOf(overrides, path);
    const problem = unplaced(override?.origin ?? file, maskValues(message, secrets), formatPath(path));
    return override ? problem : { ...problem, ...source.at(path, key) };
  };
}

function originIn(source: Source, value: unknown, overrides: readonly Override[]): (path: Path) => Origin {
  return (path) => {
    const override = overrideOf(overrides, path);
    if (override) return { from: "override", name: override.origin };
    const text = source.written(path);
    if (text !== null) return { from: "reference", text };
    const isGiven = valueAt(value, path) !== undefined || isSetByOtherSpelling(value, path);
    return { from: isGiven ? "file" : "default" };
  };
}

/** Sorts problems by their position in the file. */
export function inOrder(problems: Problem[]): Problem[] {
  return problems.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
}

/** Resolves relative paths against the directory of the file. */
function withAbsolutePaths(config: Config, dir: string): Config {
  const from = (path: string): string => resolve(dir, path);
  const { listen, control, audit, servers } = config;
  return {
    ...config,
    ...(config.state === undefined ? {} : { state: from(config.state) }),
    listen: listen.tls ? { ...listen, tls: { cert: from(listen.tls.cert), key: from(listen.tls.key) } } : listen,
    control: control.socket === undefined ? control : { ...control, socket: from(control.socket) },
    audit: {
      ...audit,
      path: audit.path === null ? null : from(audit.path),
      checkpoints: audit.checkpoints.map(({ file }) => ({ file: from(file) })),
    },
    servers: servers.map((server) => ("command" in server ? { ...server, cwd: from(server.cwd ?? ".") } : server)),
  };
}
