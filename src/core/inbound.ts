import { isObject } from "./json.ts";

/** The five protocol revisions served, oldest first; the last one is the modern era. */
export const revisions = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"] as const;
export type Revision = (typeof revisions)[number];
export type Era = "legacy" | "modern";

/** A half-open range of characters in a message's text. */
export type Span = readonly [start: number, end: number];

/** What a client declared of itself: `text` as it wrote it, to be passed on, and `value` parsed, to be inspected. */
export type ClientCapabilities = { readonly text: string; readonly value: Readonly<Record<string, unknown>> };

export const noCapabilities: ClientCapabilities = { text: "{}", value: {} };

/** The least severe level of log messages that a client wants (RFC 5424 names). */
export type LogLevel = (typeof logLevels)[number];
export const logLevels = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"] as const;

/** Whether a level is at least as severe as the least one wanted; false for an unknown level. */
export const isAsSevere = (level: unknown, least: LogLevel): boolean =>
  logLevels.findIndex((one) => one === level) >= logLevels.indexOf(least);

/**
 * Whether a client declared any extension (2026-07-28), which allows further types of results and further
 * notifications.
 */
export function hasExtensions({ value: { extensions } }: ClientCapabilities): boolean {
  return typeof extensions === "object" && extensions !== null && Object.keys(extensions).length > 0;
}

/** Long-running calls whose result is fetched later (2026-07-28). The gateway handles their messages itself. */
export const tasksExtension = "io.modelcontextprotocol/tasks";

/** User interfaces that tools bring along (MCP Apps), and the one form of them that there is. */
const uiExtension = "io.modelcontextprotocol/ui";
const uiType = "text/html;profile=mcp-app";

/** Whether a client declared that it can be asked anything. */
export const canBeAsked = ({ value }: ClientCapabilities): boolean =>
  ["roots", "sampling", "elicitation"].some((name) => Object.hasOwn(value, name));

/**
 * The kind of a client: those of its capabilities by which servers choose what they show, as JSON in which nothing is
 * its own; "{}" for none of them. Each further one can double the kinds, and each kind that comes is listed for.
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

/** Those of the members that a capability has, each empty; undefined for a capability that was not declared. */
function membersOf(capability: unknown, members: readonly string[]): Record<string, object> | undefined {
  if (capability === undefined) return undefined;
  const has = (member: string): boolean => isObject(capability) && Object.hasOwn(capability, member);
  return Object.fromEntries(members.filter(has).map((member) => [member, {}]));
}

/** What a server may ask of a client while a request of the client runs. */
export const inputMethods = ["elicitation/create", "sampling/createMessage", "roots/list"] as const;
export type InputMethod = (typeof inputMethods)[number];

/** A server's request to a client; `params` is raw JSON. */
export type InputRequest = {
  readonly method: InputMethod;
  readonly params: string;
  /** Takes the `params`, raw JSON, of each progress notification of the client; absent if the server wants none. */
  readonly progress?: (params: string) => void;
};

/** How long a question to a client waits for its answer, ms: a person may have to think. */
export const answerTime = 10 * 60_000;

/** The longest question that waits for a caller, in characters. */
export const longestQuestion = 1024 ** 2;

/** What a client answered: its `result` or its `error`, raw JSON. */
export type ClientAnswer = { readonly kind: "result" | "error"; readonly text: string };

/**
 * One JSON-RPC message of a caller, classified and checked. `text` is the message exactly as received. What is sent on
 * is cut out of it by `spans` and never re-serialised, because a re-serialised number may differ from the one that was
 * sent.
 */
export type Inbound = {
  readonly kind: "request" | "notification" | "response";
  readonly era: Era;
  /** Null until a legacy client has negotiated one. */
  readonly revision: Revision | null;
  readonly text: string;
  /** How many values it holds, each text, number, array and object. */
  readonly values: number;
  /** The id as written (`1`, `"1"`, `9007199254740993`); null for a notification. */
  readonly idText: string | null;
  /** Empty for a response. */
  readonly method: string;
  /** Parsed `params`; an empty object when absent or null. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Null also for what is written as null. */
  readonly spans: {
    readonly params: Span | null;
    readonly arguments: Span | null;
  };
  /** `_meta.progressToken` as written; null if the caller wants no progress. */
  readonly progressToken: string | null;
  /**
   * The `Mcp-Param-*` headers by lower-case name, to be compared with the arguments; null off HTTP and in the legacy
   * era.
   */
  readonly paramHeaders: Readonly<Record<string, string>> | null;
  /** Self-reported; never used for a decision. */
  readonly client: { readonly name: string; readonly version: string } | null;
  /** What the client declares, with a modern request or with `initialize`; null on every other legacy message. */
  readonly capabilities: ClientCapabilities | null;
  /** The `_meta` log level of a modern request; null if it wants no log messages. */
  readonly logLevel: LogLevel | null;
  /** The answer that a message of kind "response" carries; of one that cannot be read, an error that says so. */
  readonly answer: ClientAnswer | null;
  /** The ids, as written, of the questions that it answers: one, but for a batch that is refused. */
  readonly answersTo: readonly string[];
};

/** Characters that take as much memory as one parsed value. */
export const perValue = 16;

/** What a message takes of memory while its request runs, in characters of about five bytes. */
export const weightOf = ({ text, values }: Pick<Inbound, "text" | "values">): number => text.length + perValue * values;
