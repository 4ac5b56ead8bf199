import type { Call, ClientSession, Kind, RecordedCall, Reply, Route, Tool, Verdict } from "./call.ts";
import type { AuditEvent, Facts } from "./event.ts";
import type { ClientCapabilities, InputMethod, InputRequest } from "./inbound.ts";
import type { ListGroup, ListName } from "./lists.ts";
import type { Principal, Source } from "./principal.ts";
import type { Listing, Notice, ServerStatus, UpstreamRequest } from "./upstream.ts";

// What the stages of the path need from each other. Modules of one level never import each other: they meet here.

/** What of a request says who sends it. */
export type Presented = Pick<Call, "credentials" | "source" | "vouched">;

/** Identifies the caller; throws `unauthenticated`, `two-credentials`, `frozen` or `throttled`. */
export type Authn = { identify(presented: Presented): Principal };

/** Slows sources whose credentials keep failing; in memory, bounded. */
export type Throttle = {
  /** Milliseconds until this source may try again, 0 when it may now. */
  blockedFor(source: Source): number;
  failed(source: Source): void;
};

export type Limits = Throttle & {
  /** Before any work, every request: those in flight, per principal and in all. Throws `overloaded`. */
  admit(call: Call, who: Principal): void;
  /** Gives back what `admit` took; called once for each admitted call. */
  release(call: Call, who: Principal): void;
  /**
   * After the decision: takes a token of the consumer's, the key's and the tool's bucket; none of the tool's where the
   * request is about no single target. Throws `rate-limited`.
   */
  take(call: Call, who: Principal, route: Route | null): void;
};

export type Policy = {
  /** SHA-256 of the compiled rules, hex; recorded with every decision. */
  readonly digest: string;
  /** What of a source the rules look at, as text; empty where no rule looks at any of it. */
  placeOf(source: Source): string;
  /**
   * Sets the call's `verdict` and `policy`, also where it throws: `denied` (with the rule and what to change), or what
   * `notFound` makes where the target is hidden from the caller.
   */
  decide(call: Call, who: Principal, route: Route): Verdict;
  /**
   * Whether some arguments (of a template: some URIs) would be allowed: exactly what a list shows. Without a source,
   * what depends on one is not shown.
   */
  lists(who: Principal, route: Route, source?: Source): boolean;
  /**
   * What is decided on these arguments (null: whether some would be allowed), for whoever wants to know why. Without a
   * source, what depends on one counts against the caller.
   */
  judge(who: Principal, source: Source | null, route: Route, args: unknown): Verdict & { readonly allowed: boolean };
  /** Whether a server may ask this of the caller; only a guardrail can forbid what the call itself was allowed. */
  admitsInput(
    who: Principal,
    source: Source,
    server: string,
    method: InputMethod,
  ): Verdict & { readonly allowed: boolean };
  /** Whether the caller may use a named capability of the gateway, e.g. `mcpgw:metrics`. */
  permits(who: Principal, capability: string, source: Source): boolean;
};

/** One thing that is not offered, and why. */
export type Hidden = {
  readonly kind: Kind;
  readonly canonical: string;
  readonly reason: string;
  /** It stands for all of a list that is not known in full. */
  readonly cut?: true;
};

export type Catalog = {
  /** Whether a scope is one: a server or a toolset of this configuration. */
  hasScope(scope: string): boolean;
  /** Whether there is one of this kind and wire name in the scope, whatever the rights of the caller. */
  offers(kind: Kind, name: unknown, scope: string | null, who: Principal): boolean;
  /**
   * The route of what a call names, within its scope. Throws `unknown-tool` and its kin, with the same words for what
   * is missing and what is hidden, and `invalid-params` for what is no name and where several servers offer one URI.
   */
  resolve(call: Call, who: Principal, kind: Kind, name: unknown): Route;
  /** Whether a scope may lead to this route, listed or not: a toolset to what it includes and does not exclude. */
  admits(route: Route, scope: string | null): boolean;
  /** Route of a tool, or of another list's thing, by its canonical name; null when there is none. */
  find(canonical: string, list?: ListName): Route | null;
  /** The route to a server's resource by its own URI, listed or not, or to a method of its extensions. */
  routeTo(kind: "extension" | "resource", server: string, name: string): Route;
  /** The equally good routes of a URI, whoever may use them; in no list, those given to these callers. For operators. */
  locate(uri: string, callers: readonly Principal[]): readonly Route[];
  /**
   * The result of a list request for this caller in the words of its era, as JSON text: the page that the call's
   * cursor asks for. Throws `invalid-params` for a cursor that is none of this caller's.
   */
  list(call: Call, who: Principal, list: ListName): string;
  /** Differs where what the caller is shown of a group of lists differs. */
  shown(who: Principal, source: Source, scope: string | null, group: ListGroup): string;
  /** Whether the caller may have any tool of a server. */
  reaches(who: Principal, source: Source, server: string): boolean;
  /** Ids of the servers of which a scope offers anything. */
  servers(scope: string | null): ReadonlySet<string>;
  /** What servers in the scope that this caller has any right on say of themselves, bounded; null for nothing. */
  instructions(scope: string | null, who?: Principal, source?: Source): string | null;
  /**
   * A result of a route's server with the URIs in its links as they are on the wire, and nothing else changed; what no
   * list has is remembered with its server for the caller. The text itself where there is nothing to do.
   */
  outgoing(route: Route, result: string, who: Principal): string;
  /** The route of a URI that a server says is below a resource of its own, remembered for the caller in the same way. */
  below(route: Route, uri: string, who: Principal): Route;
  /** Every tool there is in a scope, or everything of another list, sorted by its wire name there. */
  routes(list?: ListName, scope?: string | null): readonly Route[];
  /** What is not offered, each with a reason. */
  hidden(): readonly Hidden[];
};

/** Checks a call's arguments against its tool's schema; throws `invalid-arguments` naming each path that is wrong. */
export type Validator = {
  check(call: Call, route: Route): void;
  /** Why a tool's schema cannot be used, null when it can; hides the tool. */
  refuses(tool: Tool): string | null;
};

/** What became of a question that a server put to a caller. */
type InputOutcome = "asked" | "accept" | "decline" | "cancel" | "error" | "refused";

export type InputStep = {
  readonly request: InputRequest;
  readonly outcome: InputOutcome;
  /** What the caller answered, raw JSON; null before it did. */
  readonly answer: string | null;
  /** The rule that forbade it; null: none did. */
  readonly rule: string | null;
  /** The call in which the question was put, where that was another request; null where it was this one. */
  readonly of?: string | null;
};

export type Audit = {
  /** Commits the intent (`call.begin`); throws `audit-unavailable`. Resolves as durable as the mode demands. */
  begin(call: Call): Promise<RecordedCall>;
  /** Commits the ending (`call.end`, or `call.refused` where nothing began) before the reply may leave. */
  end(call: Call): Promise<void>;
  /** Commits the one record (`call.end` with `facts`) of a subscription; sets `recorded`. Throws `audit-unavailable`. */
  once(call: Call, facts: Facts): Promise<void>;
  /**
   * Commits one step of a question to the caller of a call that has begun (`call.input`): before the question leaves
   * and before its answer is passed on. Throws `audit-unavailable`.
   */
  input(call: Call, step: InputStep): Promise<void>;
  /** Commits one step of a question to a session outside of any call (`session.input`). Throws `audit-unavailable`. */
  inputOutside(to: Reached, server: string, step: InputStep): Promise<void>;
  /** Commits an event; resolves once it is committed. */
  recordEvent(event: AuditEvent): Promise<void>;
};

/** Told of each change of a resource; `params` is what its server wrote of it, null where it may have missed some. */
export type Updated = (params: string | null) => void;

/** What a caller wants to hear of tasks of its own at one server; ids are the server's. */
export type TaskWatch = {
  readonly server: string;
  readonly taskIds: readonly string[];
  /** Called with each new state, raw JSON. */
  told(task: string): void;
  /** The server tells no more of them, or may not have told all. */
  lost(): void;
};

/** The tasks that a server tells of, and the way to end it. */
export type Followed = { readonly taskIds: ReadonlySet<string>; readonly end: () => void };

/** The managed servers. `send` is the path's last step before the answer; the rest is for the catalog and operators. */
export type Upstreams = {
  /**
   * Throws `upstream-down`, `overloaded`, `upstream-overloaded`, `upstream-protocol`, `result-too-large`, `timeout`,
   * `lost`, `cancelled`.
   */
  send(call: RecordedCall, who: Principal, route: Route, request: UpstreamRequest): Promise<Reply>;
  /**
   * Subscribes a caller to a resource; equal subscriptions of one instance share one at the server. `updated` is
   * called at each update. Returns the way to end it. Throws as `send` does.
   */
  subscribe(call: Call, who: Principal, route: Route, updated: Updated): Promise<() => void>;
  /** Has a server tell of tasks. Throws where it tells of none of these, and as `send` does. */
  followTasks(call: Call, who: Principal, watch: TaskWatch): Promise<Followed>;
  /**
   * Finds out what the servers that `of` selects offer only to clients with these capabilities; null when that is
   * known, or cannot be found out now.
   */
  listConditional(capabilities: ClientCapabilities, mayUse: (server: string) => boolean): Promise<unknown> | null;
  /** Calls `listener` with what servers say outside of any exchange. Returns the way to stop listening. */
  onNotice(listener: (notice: Notice) => void): () => void;
  /** Passes a notification of a legacy caller on to the instances that were started for its session. */
  tell(call: Call, who: Principal, method: string): void;
  /** Ends the instances that were started for one legacy session alone. */
  endSession(id: string): void;
  listings(): readonly Listing[];
  /** Called after any server's tools or state changed. Returns the way to stop listening. */
  onChange(listener: () => void): () => void;
  status(): readonly ServerStatus[];
  /** Resolves once each server that starts at boot, or was never listed, was listed or failed. */
  settled(): Promise<void>;
};

/** A server inside the process: the gateway's own tools. */
export type LocalServer = {
  readonly id: string;
  readonly tools: readonly Tool[];
  call(call: Call, who: Principal, tool: string, args: unknown): Promise<Reply>;
};

/** The longest that anything is sealed for, ms: a key opens for as long after it has sealed last. */
export const longestSeal = 366 * 86_400_000;

/** Makes texts that travel through callers and come back unchanged and unread (AES-256-GCM). */
export type Sealer = {
  /** URL-safe text that `open` reads back under the same purpose and context (who it is for), for `ttl` ms, at most `longestSeal`. */
  seal(purpose: string, context: string, value: string, ttl: number): string;
  /** Null for a text that was not sealed here, for this, or has expired. */
  open(purpose: string, context: string, sealed: string): string | null;
};

/** What one listener wants to be told; URIs are those on the wire. */
export type Wants = {
  readonly lists: ReadonlySet<ListGroup>;
  readonly scope: string | null;
};

/** The client of a legacy session that can be reached outside of any call. */
export type Reached = {
  readonly who: Principal;
  readonly source: Source;
  readonly session: ClientSession;
  /** As `Call.ask`. */
  readonly ask: NonNullable<Call["ask"]>;
};

/** Tells those who listen of changes outside of any call: legacy sessions with an open stream, modern `subscriptions/listen`. */
export type Notifier = {
  /**
   * `send` gets the method and the raw `params` of a notification; with `session`, also what servers say outside of any
   * exchange to that legacy session, whose client `ask` reaches. While the session is not `here` it can be asked nothing;
   * what it is told is kept for it by `send`, but for changed lists, which it hears of when it joins again. Returns the
   * way to leave. Throws `overloaded`.
   */
  join(
    who: Principal,
    source: Source,
    wants: Wants,
    send: (method: string, params: string | null) => void,
    own?: Pick<Reached, "session" | "ask"> & { readonly here?: () => boolean },
  ): () => void;
  /** The client of a legacy session, null where it cannot be reached now. */
  reach(session: string): Reached | null;
  /** Tells one legacy session, where it has joined. */
  tell(session: ClientSession, method: string, params: string | null): void;
};

/** Counters on the path; feeds metrics only, never usage. */
export type Metrics = { count(call: Call): void };
