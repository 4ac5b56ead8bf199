import { isObject } from "./json.ts";

/** The five supported protocol revisions, oldest first; the last one is the modern era. */
export const revisions = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"] as const;
export type Revision = (typeof revisions)[number];
export type Era = "legacy" | "modern";

/** A half-open range of characters in a message's text. */
export type Span = readonly [start: number, end: number];

/** What a client declared about itself: `text` as written, to be passed on, and `value` parsed, to be inspected. */
export type ClientCapabilities = { readonly text: string; readonly value: Readonly<Record<string, unknown>> };

export const noCapabilities: ClientCapabilities = { text: "{}", value: {} };

/** The minimum severity of the log messages that a client wants (RFC 5424 names). */
export type LogLevel = (typeof logLevels)[number];
export const logLevels = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"] as const;

/** Reports whether a level is at least as severe as `least`; false for an unknown level. */
export const isAsSevere = (level: unknown, least: LogLevel): boolean =>
  logLevels.findIndex((one) => one === level) >= logLevels.indexOf(least);

/** Reports whether a client declared any extension (2026-07-28), which allows more result types and notifications. */
export function hasExtensions({ value: { extensions } }: ClientCapabilities): boolean {
  return typeof extensions === "object" && extensions !== null && Object.keys(extensions).length > 0;
}

/** Long-running calls whose result is fetched later (2026-07-28). The gateway handles their messages itself. */
export const tasksExtension = "io.modelcontextprotocol/tasks";

/** User interfaces that come with tools (MCP Apps), and the only media type that exists for them. */
const uiExtension = "io.modelcontextprotocol/ui";
const uiType = "text/html;profile=mcp-app";

/** Reports whether a client declared that it can be asked anything. */
export const acceptsQuestions = ({ value }: ClientCapabilities): boolean =>
  ["roots", "sampling", "elicitation"].some((name) => Object.hasOwn(value, name));

/**
 * Returns the kind of a client as JSON: those of its capabilities that decide what servers show, without details of
 * their own; "{}" if it has none. Each further one can double the number of kinds, and servers are listed for each kind
 * that occurs.
 */
export function clientKind({ value }: ClientCapabilities): string {
  const { roots, sampling, elicitation, extensions } = value;
  const ui = isObject(extensions) ? extensions[uiExtension] : null;
  const showsUi = isObject(ui) && Array.isArray(ui["mimeTypes"]) && ui["mimeTypes"].includes(uiType);
  return JSON.stringify({
    roots: roots === undefined ? roots : {},
    sampling: membersOf(sampling, ["tools"]),
    elicitation: membersOf(elicitation, ["form", "url"]),
    extensions: showsUi ? { [uiExtension]: { mimeTypes: [uiType] } } : undefined,
  });
}

/** Returns those of the members that a capability has, each empty; undefined if the capability was not declared. */
function membersOf(capability: unknown, members: readonly string[]): Record<string, object> | undefined {
  if (capability === undefined) return undefined;
  const has = (member: string): boolean => isObject(capability) && Object.hasOwn(capability, member);
  return Object.fromEntries(members.filter(has).map((member) => [member, {}]));
}

/** What a server may ask a client for while a request of the client runs. */
export const inputMethods = ["elicitation/create", "sampling/createMessage", "roots/list"] as const;
export type InputMethod = (typeof inputMethods)[number];

/** A server's request to a client; `params` is raw JSON. */
export type InputRequest = {
  readonly method: InputMethod;
  readonly params: string;
  /** Receives the raw JSON `params` of the client's progress notifications; absent if the server wants none. */
  readonly progress?: (params: string) => void;
};

/** How long a question to a client waits for its answer, in ms; a person may need time to think. */
export const answerTimeoutMs = 10 * 60_000;

/** The maximum length, in characters, of a question that waits for a caller. */
export const maxQuestionLength = 1024 ** 2;

/** A client's answer: its `result` or its `error`, raw JSON. */
export type ClientAnswer = { readonly kind: "result" | "error"; readonly text: string };

/**
 * One JSON-RPC message of a caller, classified and checked. `text` is the message exactly as received. What is sent on
 * is cut out of it by `spans`, not re-serialized, because that may change a number.
 */
export type Inbound = {
  readonly kind: "request" | "notification" | "response";
  readonly era: Era;
  /** Null until a legacy client has negotiated one. */
  readonly revision: Revision | null;
  readonly text: string;
  /** The number of values in it: strings, numbers, arrays and objects. */
  readonly values: number;
  /** The id as written (`1`, `"1"`, `9007199254740993`); null for a notification. */
  readonly idText: string | null;
  /** Empty for a response. */
  readonly method: string;
  /** Parsed `params`; an empty object if absent or null. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Null if absent or written as null. */
  readonly spans: {
    readonly params: Span | null;
    readonly arguments: Span | null;
  };
  /** `_meta.progressToken` as written; null if the caller wants no progress. */
  readonly progressToken: string | null;
  /** The `Mcp-Param-*` headers by lower-case name, to compare with the arguments; null if not modern HTTP. */
  readonly paramHeaders: Readonly<Record<string, string>> | null;
  /** Self-reported; never used for a decision. */
  readonly client: { readonly name: string; readonly version: string } | null;
  /** What the client declares in a modern request or in `initialize`; null on every other legacy message. */
  readonly capabilities: ClientCapabilities | null;
  /** The `_meta` log level of a modern request; null if it wants no log messages. */
  readonly logLevel: LogLevel | null;
  /** The answer in a message of kind "response"; if it cannot be read, an error that says so. */
  readonly answer: ClientAnswer | null;
  /** The ids, as written, of the questions that it answers: one, except in a batch, which is refused. */
  readonly answersTo: readonly string[];
};

/** The number of characters that take as much memory as one parsed value. */
export const perValue = 16;

/** Returns the memory that a message takes while its request runs, in characters of about five bytes. */
export const weightOf = ({ text, values }: Pick<Inbound, "text" | "values">): number => text.length + perValue * values;
