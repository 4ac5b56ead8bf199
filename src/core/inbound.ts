/** The five protocol revisions served, oldest first; the last one is the modern era. */
export const revisions = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"] as const;
export type Revision = (typeof revisions)[number];
export type Era = "legacy" | "modern";

/** A half-open range of characters in a message's text. */
export type Span = readonly [start: number, end: number];

/** What a client declared of itself: as it wrote it, to be mirrored, and parsed, to be looked at. */
export type ClientCapabilities = { readonly text: string; readonly value: Readonly<Record<string, unknown>> };

export const noCapabilities: ClientCapabilities = { text: "{}", value: {} };

/** What a client declared that servers may ask of it, in a word; empty for nothing. */
export function inputKey({ value }: ClientCapabilities): string {
  const { elicitation } = value;
  const byUrl = typeof elicitation === "object" && elicitation !== null && "url" in elicitation;
  const declared = ["roots", "sampling", "elicitation"].filter((name) => Object.hasOwn(value, name));
  return [...declared, ...(byUrl ? ["url"] : [])].join(" ");
}

/** What a server may ask of a client while a request of the client runs. */
export const inputMethods = ["elicitation/create", "sampling/createMessage", "roots/list"] as const;
export type InputMethod = (typeof inputMethods)[number];

/** A server's request to a client; `params` is raw JSON. */
export type InputRequest = { readonly method: InputMethod; readonly params: string };

/** The longest that what a client was asked waits for its answer, ms: a person may have to think. */
export const answerTime = 10 * 60_000;

/** What a client answered: its `result` or its `error`, raw JSON. */
export type ClientAnswer = { readonly kind: "result" | "error"; readonly text: string };

/**
 * One JSON-RPC message as it came from a caller, classified and checked.
 * `text` is the message exactly as received; what travels on is cut out of it by `spans`, never re-serialised,
 * because a re-serialised number may differ from the one that was sent.
 */
export type Inbound = {
  readonly kind: "request" | "notification" | "response";
  readonly era: Era;
  /** null until a legacy client has negotiated one. */
  readonly revision: Revision | null;
  readonly text: string;
  /** The id as it was written (`1`, `"1"`, `9007199254740993`); null for a notification. */
  readonly idText: string | null;
  readonly method: string;
  /** Parsed `params`; an empty object when absent. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly spans: {
    readonly params: Span | null;
    readonly arguments: Span | null;
  };
  /** `_meta.progressToken` as it was written, null when none was asked for. */
  readonly progressToken: string | null;
  /** `Mcp-Param-*` headers by lower-case name, null off HTTP and in the legacy era; compared with the arguments. */
  readonly paramHeaders: Readonly<Record<string, string>> | null;
  /** Self-reported; never used for a decision. */
  readonly client: { readonly name: string; readonly version: string } | null;
  /** What the client declares: with a modern request, or with `initialize`; null on every other legacy message. */
  readonly capabilities: ClientCapabilities | null;
  /** `_meta` log level of a modern request, as it was written; null: it wants no log messages. */
  readonly logLevel: string | null;
  /** What a message of kind "response" answers with. */
  readonly answer: ClientAnswer | null;
};
