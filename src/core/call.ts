import type { Failure, Status } from "./failure.ts";
import type { AbortControllerLike, AbortSignalLike } from "./cancel.ts";
import { clientKind, noCapabilities } from "./inbound.ts";
import type { ClientAnswer, ClientCapabilities, Era, Inbound, InputRequest, LogLevel, Revision } from "./inbound.ts";
import { isObject } from "./json.ts";
import type { ListNode } from "./linked-list.ts";
import { isRequestMethod, methodLabel } from "./methods.ts";
import type { Principal, Source } from "./principal.ts";

/**
 * An item as its server defined it, by name (tool, prompt), URI (resource) or URI template. `text` is the definition as
 * received, without the parts that no client could read.
 */
export type Item = {
  readonly name: string;
  readonly text: string;
  /** What is wrong with the definition, for operators; absent if nothing is. */
  readonly faults?: readonly string[];
};

export type Tool = Item & {
  /** Parsed, untrusted. */
  readonly inputSchema: Readonly<Record<string, unknown>>;
  /** Set if legacy clients could not compile its outputSchema. */
  readonly modernOutput?: boolean;
  /** Set if the server shows the tool only to clients of these kinds (see `clientKind`). */
  readonly shownTo?: ReadonlySet<string>;
};

/** What a caller can request from a server. `extension` is a method of an extension that both sides declared. */
export const kinds = ["tool", "prompt", "resource", "extension"] as const;
export type Kind = (typeof kinds)[number];

/** The target of a call: one item of one server. Built once per catalog and compared by identity. */
export type Route = {
  readonly kind: Kind;
  readonly server: string;
  /** The server's own name for the tool or prompt, its own URI for the resource, or the extension's method. */
  readonly name: string;
  /** Null unless the route leads to a tool. */
  readonly tool: Tool | null;
  /** `server:name`, as used by policy, audit and CLI. */
  readonly canonical: string;
  /** The name or URI on the wire. */
  readonly wire: string;
  /** Set if name and wire are URI templates; a decision or listing then covers every URI that they can produce. */
  readonly template?: true;
};

/** The policy's verdict and the rule that decided; a null rule is the default denial. */
export type Verdict = { readonly rule: string | null; readonly reason: string };

/** An upstream's answer, kept as text so that it is passed on unchanged. */
export type Reply =
  | {
      readonly kind: "result";
      readonly era: Era;
      /** The `result` value as received. */
      readonly text: string;
      readonly isError: boolean;
      /** The `resultType`, unless it is "complete": "input_required", "task", or an extension's own. */
      readonly type: string | null;
    }
  | {
      readonly kind: "error";
      readonly era: Era;
      /** The `error` object as received. */
      readonly text: string;
      readonly code: number;
    };

/** A legacy client after `initialize`, over any transport, and the principal that it belongs to. */
export type ClientSession = {
  readonly id: string;
  /** Principal id; no other principal may use the session. */
  readonly owner: string;
  readonly revision: Revision;
  readonly capabilities: ClientCapabilities;
  /** Set by `logging/setLevel`; until then the server's default applies. */
  logLevel: LogLevel | null;
  /** Returns the canonical name of the resource subscribed under a wire URI (a reload may reassign it), or null. */
  subscribedTo(uri: string): string | null;
  /**
   * Stores the function that ends a subscription to `target`, and ends any earlier subscription under the same URI.
   * `end` is called when the session ends, or at once if it has already ended.
   */
  keepSubscription(uri: string, target: string, end: () => void): void;
  /**
   * Ends the subscription of this URI, or the request for one that is still pending: messages of a client take effect
   * in order even if the server is slow.
   */
  endSubscription(uri: string): void;
  /** Registers a pending subscription; `ended` is called if it ends before the caller runs the returned function. */
  askSubscription(uri: string, ended: () => void): () => void;
};

const traceContext = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?$/;
const noTrace = "0".repeat(32);

export type CallInit = Pick<Call, "id" | "at" | "started" | "inbound" | "source" | "credentials" | "vouched"> &
  Pick<Call, "session" | "scope" | "fault" | "controller" | "emit" | "ask" | "open">;

/**
 * One request of a caller, from arrival to end. All fields exist from the start and each stage of the path fills in its
 * own; audit, usage, metrics and tail read this one object.
 */
export class Call {
  readonly id: string;
  /** Wall clock, µs since the epoch. */
  readonly at: number;
  /** Monotonic clock, µs. */
  readonly started: number;
  readonly inbound: Inbound;
  readonly source: Source;
  /** The keys that were presented; they must not reach any log, error or upstream. */
  readonly credentials: readonly string[];
  /** Set if the transport itself vouches for the caller (control socket, embedded stdio). */
  readonly vouched: Principal | null;
  /** The legacy session; null for sessionless and modern requests. */
  readonly session: ClientSession | null;
  /** The server or toolset whose endpoint was called (`/mcp/{id}`); null for all servers. */
  readonly scope: string | null;
  /** A fault that the transport found in the message; the path refuses the request once the caller is known. */
  readonly fault: Failure | null;
  /** Aborts when the call must end: the caller cancels or disconnects (modern), time is up, or the gateway stops. */
  readonly controller: AbortControllerLike;
  /** Sends a notification about this call; without `must`, a slow reader may miss it. Null if the transport cannot. */
  readonly emit: ((notification: string, must?: boolean) => void) | null;
  /**
   * Sends the caller a request and resolves with its answer; throws `cancelled` if it is gone. Null if not supported.
   */
  readonly ask: ((request: InputRequest, signal: AbortSignalLike) => Promise<ClientAnswer>) | null;
  /**
   * Opens a session before `initialize` is answered; throws `overloaded` or `audit-unavailable`. Null if not supported.
   */
  readonly open: ((call: IdentifiedCall, revision: Revision) => Promise<ClientSession>) | null;
  /** Answers the server's questions to the caller; set by the path before sending. Null if none are allowed. */
  input: ((request: InputRequest, signal: AbortSignalLike) => Promise<ClientAnswer>) | null = null;

  who: Principal | null = null;
  /**
   * The target's canonical name, or else the caller's name for it, which may be known without a route. The audit
   * truncates it only after masking credentials, because masking would not recognize half of one.
   */
  target: string | null = null;
  route: Route | null = null;
  verdict: Verdict | null = null;
  /** SHA-256 of the policy bundle that decided, hex. */
  policy: string | null = null;
  /**
   * True once the intent is recorded, or allowed to go unrecorded by `audit.onFailure: allow`. From then on the call
   * may run and its ending is `call.end`; before that it is `call.refused`.
   */
  begun = false;
  /** True once its intent, or a question of its server, was allowed to go unrecorded. */
  unrecorded = false;
  /** The sequence number of its begin record, from when that is written until its end is recorded; otherwise null. */
  beginning: ListNode<number> | null = null;
  /** True once a single record covers the whole call, as for a subscription, which has no begin and end records. */
  recordedOnce = false;
  /** The call of which this request is one round. That call is recorded and counted once for all its rounds. */
  whole: Call | null = null;
  opened: ClientSession | null = null;
  reply: Reply | null = null;
  failure: Failure | null = null;
  /** Duration in µs, set once at the end. */
  took = 0;

  constructor(init: CallInit) {
    this.id = init.id;
    this.at = init.at;
    this.started = init.started;
    this.inbound = init.inbound;
    this.source = init.source;
    this.credentials = init.credentials;
    this.vouched = init.vouched;
    this.session = init.session;
    this.scope = init.scope;
    this.fault = init.fault;
    this.controller = init.controller;
    this.emit = init.emit;
    this.ask = init.ask;
    this.open = init.open;
  }

  /** Returns a copy of the call in its present state that outlives the request in which it arrived. */
  detached<T extends Call>(this: T, controller: AbortControllerLike, emit: (notification: string) => void): T {
    return Object.assign(new Call(this), this, { controller, emit, ask: null, input: null });
  }

  /** The method as a label of bounded cardinality: one that the gateway serves, or `other`. */
  get knownMethod(): string {
    return methodLabel(this.inbound.method);
  }

  /**
   * How the call ended. `ok` means a result that is not a tool error, a subscription that was granted (however it
   * ended), or a message that is not a request and so has no result.
   */
  get status(): Status {
    if (this.recordedOnce) return "ok";
    if (this.failure) return this.failure.row.status;
    if (!this.reply) return this.inbound.kind === "request" ? "error" : "ok";
    if (this.reply.kind === "error") return "rpc_error";
    return this.reply.isError ? "tool_error" : "ok";
  }

  /** The id of the trace that the caller names (W3C Trace Context, `traceparent`); null if it names none. */
  get trace(): string | null {
    const meta = this.inbound.params["_meta"];
    if (typeof meta !== "object" || meta === null || !("traceparent" in meta)) return null;
    const { traceparent } = meta;
    const id = typeof traceparent === "string" ? traceContext.exec(traceparent)?.[1] : undefined;
    return id === undefined || id === noTrace ? null : id;
  }

  /** What the client declared, with this request or when it opened its session. */
  get capabilities(): ClientCapabilities {
    return this.inbound.capabilities ?? this.session?.capabilities ?? noCapabilities;
  }

  /**
   * What the call passes to its target: its `arguments` exactly as received, all `params` of an extension's method, or
   * the task id of a task method, whose target is the tool. `{}` if absent or null.
   */
  get argumentsText(): string {
    const { method, params, spans, text } = this.inbound;
    if (method === "completion/complete") return completed(params);
    const isMcp = isRequestMethod(method);
    if (isMcp && method.startsWith("tasks/")) return JSON.stringify({ taskId: params.taskId });
    const span = isMcp ? spans.arguments : spans.params;
    return span ? text.slice(span[0], span[1]) : "{}";
  }
}

/**
 * Returns the arguments of a completion by name, in the form of the call that it prepares, so that the same redaction
 * applies. An argument that is both being completed and already given has both values.
 */
function completed({ argument, context }: Inbound["params"]): string {
  const known = isObject(context) && isObject(context.arguments) ? context.arguments : {};
  if (!isObject(argument) || typeof argument.name !== "string") return JSON.stringify(known);
  const { name, value } = argument;
  return JSON.stringify({ ...known, [name]: Object.hasOwn(known, name) ? [known[name], value] : value });
}

/** A call whose caller is known; everything done for the call is done for that principal. */
export type IdentifiedCall = Call & { readonly who: Principal };

/** What determines which server instances a caller uses. */
export type Party = Pick<IdentifiedCall, "who" | "session" | "capabilities"> & {
  readonly inbound: Pick<Inbound, "era">;
};

/** Reports whether the server shows the tool to clients with these capabilities. */
export const isShown = ({ tool }: Route, { capabilities }: Pick<Party, "capabilities">): boolean =>
  tool?.shownTo?.has(clientKind(capabilities)) !== false;

/** The caller to whom offers are listed, and the source and scope that it lists from. */
export type Viewpoint = Party & Pick<Call, "source" | "scope">;

/** Sets the caller of a call. */
export function setCaller(call: Call, who: Principal): asserts call is IdentifiedCall {
  call.who = who;
}

/** A call whose target is known. */
export type RoutedCall = IdentifiedCall & { readonly route: Route };

/** Sets the target of a call. */
export function setRoute(call: IdentifiedCall, route: Route): asserts call is RoutedCall {
  call.route = route;
}

declare const begun: unique symbol;

/** A call that has `begun`. Only the audit creates one, and only such calls are sent to servers. */
export type BegunCall = RoutedCall & { readonly [begun]: true };
