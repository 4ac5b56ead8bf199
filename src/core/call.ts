import type { Failure, Status } from "./failure.ts";
import type { AbortControllerLike, AbortSignalLike } from "./cancel.ts";
import { clientKind, noCapabilities } from "./inbound.ts";
import type { ClientAnswer, ClientCapabilities, Era, Inbound, InputRequest, LogLevel, Revision } from "./inbound.ts";
import { isObject } from "./json.ts";
import type { ListNode } from "./linked-list.ts";
import { isRequestMethod, methodLabel } from "./methods.ts";
import type { Principal, Source } from "./principal.ts";

/**
 * One thing that a server offers, as the server defined it: a tool or prompt by its name, a resource by its URI, a
 * template by its URI template. `text` is its definition as received, without what no client could read.
 */
export type Item = {
  readonly name: string;
  readonly text: string;
  /** What is wrong with the definition, for operators; missing if nothing is. */
  readonly faults?: readonly string[];
};

/** A tool as a server defined it. */
export type Tool = Item & {
  /** Parsed, untrusted. */
  readonly inputSchema: Readonly<Record<string, unknown>>;
  /** Set if clients of the legacy era could not compile its outputSchema. */
  readonly modernOutput?: boolean;
  /** Set if its server shows it only to some clients: to those of these kinds, see `clientKind`. */
  readonly shownTo?: ReadonlySet<string>;
};

/** What a caller can ask a server for. `extension` is a method of an extension that both sides declared. */
export const kinds = ["tool", "prompt", "resource", "extension"] as const;
export type Kind = (typeof kinds)[number];

/** Where a call goes: one thing of one server. Built once per catalog, compared by identity. */
export type Route = {
  readonly kind: Kind;
  readonly server: string;
  /** The tool's or prompt's own name on its server, the resource's URI there, or the extension's method. */
  readonly name: string;
  /** Null unless the route is a tool's. */
  readonly tool: Tool | null;
  /** `server:name`, what policy, audit and CLI speak. */
  readonly canonical: string;
  /** The name or URI on the wire. */
  readonly wire: string;
  /** True if name and wire are URI templates: a decision or listing then stands for every URI made from them. */
  readonly template?: true;
};

/** The policy's verdict: the rule that decided, null for the default denial. */
export type Verdict = { readonly rule: string | null; readonly reason: string };

/** The answer of an upstream, as text so that it travels untouched. */
export type Reply =
  | {
      readonly kind: "result";
      readonly era: Era;
      /** The `result` value as received. */
      readonly text: string;
      readonly isError: boolean;
      /** The `resultType` if it is not "complete": "input_required", "task", or one of an extension. */
      readonly type: string | null;
    }
  | {
      readonly kind: "error";
      readonly era: Era;
      /** The `error` object as received. */
      readonly text: string;
      readonly code: number;
    };

/** One legacy client after `initialize`, over any transport, and the principal it belongs to. */
export type ClientSession = {
  readonly id: string;
  /** Principal id; nobody else may use the session. */
  readonly owner: string;
  readonly revision: Revision;
  /** What `initialize` declared. */
  readonly capabilities: ClientCapabilities;
  /** Set by `logging/setLevel`; until then the server's own default holds. */
  logLevel: LogLevel | null;
  /**
   * The canonical name of the resource that it is subscribed to under this URI on the wire, which a reload may give to
   * another; null if there is none.
   */
  subscribedTo(uri: string): string | null;
  /**
   * Keeps the function that ends a subscription to `target`, and ends the one kept under the same URI before. The
   * function is called when the session ends, or at once if it has ended already.
   */
  keepSubscription(uri: string, target: string, end: () => void): void;
  /**
   * Ends the subscription of this URI, if there is one, and one that is being asked for: the messages of a client keep
   * their order, though the server takes its time.
   */
  endSubscription(uri: string): void;
  /**
   * Says that a subscription is being asked for; `ended` is called if it ends before the function is called that is
   * returned.
   */
  askSubscription(uri: string, ended: () => void): () => void;
};

const traceContext = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?$/;
const noTrace = "0".repeat(32);

/** What is known of a call when it arrives. */
export type CallInit = Pick<Call, "id" | "at" | "started" | "inbound" | "source" | "credentials" | "vouched"> &
  Pick<Call, "session" | "scope" | "fault" | "controller" | "emit" | "ask" | "open">;

/**
 * One request of a caller, from its arrival to its end. All fields exist from the start and each stage of the path
 * fills its own; audit, usage, metrics and tail read this one object.
 */
export class Call {
  readonly id: string;
  /** Wall clock, µs since the epoch. */
  readonly at: number;
  /** Monotonic clock, µs. */
  readonly started: number;
  readonly inbound: Inbound;
  readonly source: Source;
  /** The keys that were presented: they must reach no log, error or upstream. */
  readonly credentials: readonly string[];
  /** Set if the transport itself vouches for the caller (control socket, embedded stdio). */
  readonly vouched: Principal | null;
  /** The legacy session; null for sessionless and modern requests. */
  readonly session: ClientSession | null;
  /** Server or toolset whose endpoint was called (`/mcp/{id}`), null for all servers. */
  readonly scope: string | null;
  /** A fault that the transport found in the message; the path refuses the request once the caller is known. */
  readonly fault: Failure | null;
  /** Aborts when the call has to end: the caller cancels or disconnects (modern), time is up, or the gateway stops. */
  readonly controller: AbortControllerLike;
  /**
   * Sends the caller a notification about this call; without `must` one that reads slowly may miss it. Null if the
   * transport cannot.
   */
  readonly emit: ((notification: string, must?: boolean) => void) | null;
  /**
   * Sends the caller a request while its call runs and resolves with the answer; null if transport or era cannot.
   * Throws `cancelled` when the caller is gone.
   */
  readonly ask: ((request: InputRequest, signal: AbortSignalLike) => Promise<ClientAnswer>) | null;
  /**
   * Opens the session of a client before `initialize` is answered; null if the transport has no sessions. Throws
   * `overloaded`, `audit-unavailable`.
   */
  readonly open: ((call: IdentifiedCall, revision: Revision) => Promise<ClientSession>) | null;
  /**
   * Answers the server's questions to the caller while the call runs. The path sets it before it sends the call; null
   * if nothing may be asked.
   */
  input: ((request: InputRequest, signal: AbortSignalLike) => Promise<ClientAnswer>) | null = null;

  who: Principal | null = null;
  /**
   * The canonical name of the target, else what the caller calls it, if known even without a route. The audit cuts it
   * shorter once credentials are masked: half of one would not be seen as one.
   */
  target: string | null = null;
  route: Route | null = null;
  verdict: Verdict | null = null;
  /** SHA-256 of the policy bundle that decided, hex. */
  policy: string | null = null;
  /**
   * True once the intent is recorded, or passed without a record under `audit.onFailure: allow`. From then on the call
   * may run and its ending is `call.end`; before that it is `call.refused`.
   */
  begun = false;
  /** True once its intent, or something that its server asked, passed without a record. */
  unrecorded = false;
  /** The sequence of its begin record, if there is one, while its end is not recorded yet; else null. */
  beginning: ListNode<number> | null = null;
  /** True once a single record covers the whole call: that of a subscription, which has no begin and end. */
  recordedOnce = false;
  /** The call of which this request is one round. That call is recorded and counted, once for all rounds. */
  whole: Call | null = null;
  /** The session that this call has opened. */
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

  /** A copy of the call in its present state that outlives the request in which it came. */
  detached<T extends Call>(this: T, controller: AbortControllerLike, emit: (notification: string) => void): T {
    return Object.assign(new Call(this), this, { controller, emit, ask: null, input: null });
  }

  /** The method as a bounded label: one that the gateway serves, or `other`. */
  get knownMethod(): string {
    return methodLabel(this.inbound.method);
  }

  /**
   * How the call ended. `ok` is a result that is no tool error, a subscription that was granted, however it ends, or no
   * request at all, which has no result.
   */
  get status(): Status {
    if (this.recordedOnce) return "ok";
    if (this.failure) return this.failure.row.status;
    if (!this.reply) return this.inbound.kind === "request" ? "error" : "ok";
    if (this.reply.kind === "error") return "rpc_error";
    return this.reply.isError ? "tool_error" : "ok";
  }

  /** The trace to which the caller says the call belongs (W3C Trace Context, `traceparent`); null if it names none. */
  get trace(): string | null {
    const meta = this.inbound.params["_meta"];
    if (typeof meta !== "object" || meta === null || !("traceparent" in meta)) return null;
    const { traceparent } = meta;
    const id = typeof traceparent === "string" ? traceContext.exec(traceparent)?.[1] : undefined;
    return id === undefined || id === noTrace ? null : id;
  }

  /** What the caller's client declared: with this request, or when it opened its session. */
  get capabilities(): ClientCapabilities {
    return this.inbound.capabilities ?? this.session?.capabilities ?? noCapabilities;
  }

  /**
   * What is asked of the thing that the call names: its `arguments` exactly as received, or all `params` of an
   * extension's method; for a task, whose tool is named, which one. `{}` when absent or null.
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
 * The arguments of a completion by their names, as those of the call that it is for: what hides them there does here.
 * One that is asked for and known has both values.
 */
function completed({ argument, context }: Inbound["params"]): string {
  const known = isObject(context) && isObject(context.arguments) ? context.arguments : {};
  if (!isObject(argument) || typeof argument.name !== "string") return JSON.stringify(known);
  const { name, value } = argument;
  return JSON.stringify({ ...known, [name]: Object.hasOwn(known, name) ? [known[name], value] : value });
}

/** A call whose caller is known: whatever is done for it is done for that principal. */
export type IdentifiedCall = Call & { readonly who: Principal };

/** What decides which instances of the servers are a caller's. */
export type Party = Pick<IdentifiedCall, "who" | "session" | "capabilities"> & {
  readonly inbound: Pick<Inbound, "era">;
};

/** Whether its server shows a tool to clients that declare as much. */
export const isShown = ({ tool }: Route, { capabilities }: Pick<Party, "capabilities">): boolean =>
  tool?.shownTo?.has(clientKind(capabilities)) !== false;

/** Who is shown what servers offer, and where it looks from. */
export type Viewpoint = Party & Pick<Call, "source" | "scope">;

/** Says who makes a call. */
export function setCaller(call: Call, who: Principal): asserts call is IdentifiedCall {
  call.who = who;
}

/** A call of which is known where it goes. */
export type RoutedCall = IdentifiedCall & { readonly route: Route };

/** Says where a call goes. */
export function setRoute(call: IdentifiedCall, route: Route): asserts call is RoutedCall {
  call.route = route;
}

declare const begun: unique symbol;

/** A call that has `begun`. Only the audit makes one, and only such calls are sent to servers. */
export type BegunCall = RoutedCall & { readonly [begun]: true };
