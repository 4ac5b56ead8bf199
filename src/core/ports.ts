import type {
  Call,
  ClientSession,
  IdentifiedCall,
  Kind,
  Party,
  BegunCall,
  Viewpoint,
  Reply,
  Route,
  RoutedCall,
  Tool,
  Verdict,
} from "./call.ts";
import type { AuditEvent, Facts } from "./event.ts";
import type { InputMethod, InputRequest } from "./inbound.ts";
import type { ListGroup, ListName } from "./lists.ts";
import type { Principal, Source } from "./principal.ts";
import type { Listing, ServerStatus, UpstreamRequest } from "./upstream.ts";

// What the stages of the path need from each other. Modules of one level never import each other; they meet here.

/** The parts of a request that identify its sender. */
export type Presented = Pick<Call, "credentials" | "source" | "vouched">;

/** Identifies the caller; throws `unauthenticated`, `two-credentials`, `frozen` or `throttled`. */
export type Authn = { identify(presented: Presented): Principal };

/** Slows down sources whose credentials keep failing; in memory, bounded. */
export type Throttle = {
  /** Returns the milliseconds until this source may try again; 0 if it may now. */
  blockedFor(source: Source): number;
  failed(source: Source): void;
};

export type Limits = Throttle & {
  /**
   * Admits a request before any work, by the number and weight (`weightOf`) of those in flight, per principal and in
   * total. Throws `overloaded`.
   */
  admit(who: Principal, weight: number): void;
  /** Releases what `admit` took; called once per admitted request. */
  release(who: Principal, weight: number): void;
  /** Counts the weight of an answered request that stays in memory until the returned function runs; see `admit`. */
  carry(who: Principal, weight: number): () => void;
  /**
   * Takes one token from each bucket of a call that policy allowed: the consumer's (or the key's, if it has its own
   * rate) and those of the called tool, if `route` leads to one. Throws `rate-limited`.
   */
  take(who: Principal, route: Route | null): void;
  /** Returns the limit of rate 0 that bars this caller from the target; null if there is none. */
  barring(who: Principal, route: Route): string | null;
};

export type Policy = {
  /** SHA-256 of the compiled rules, hex; recorded with every decision. */
  readonly digest: string;
  /** Returns the source properties that any rule tests, as one string (a cache key); empty if no rule tests any. */
  sourceKey(source: Source): string;
  /**
   * Sets the call's `verdict` and `policy`, even if it throws: `denied` (with the rule and what to change), or the
   * failure of `notFound` if the target is hidden from the caller. `named` is the resource in the `uri` of an
   * extension's method.
   */
  decide(call: Call, who: Principal, route: Route, named?: Route | null): Verdict;
  /**
   * Reports whether some arguments (for a template: some URIs) would be allowed; lists show exactly these targets.
   * Without a source, a target whose decision depends on the source is not listed.
   */
  lists(who: Principal, route: Route, source?: Source): boolean;
  /**
   * Returns the decision on these arguments without a call. With `args` null, it tells whether some arguments would be
   * allowed. Without a source, conditions on the source count against the caller.
   */
  judge(who: Principal, source: Source | null, route: Route, args: unknown): Judged;
  /** Reports whether any policy names one of these roles; without one, nothing is allowed. */
  names(roles: readonly string[]): boolean;
  /** Returns the decision on these arguments, for an operator who does not know the call's source. */
  explain(who: Principal, route: Route, args: unknown): Explained;
  /** Reports whether a server may ask the caller this. The call is allowed already, so only a guardrail forbids it. */
  admitsInput(who: Principal, source: Source, server: string, method: InputMethod): Judged;
  /** Reports whether the caller may use a capability of the gateway. */
  permits(who: Principal, capability: Capability, source: Source): boolean;
};

/** What rules can allow of the gateway itself, apart from its tools, in the form of tools of server `mcpgw`. */
export const gatewayCapabilities = ["metrics", "status", "audit_all"] as const;
export type Capability = (typeof gatewayCapabilities)[number];

type Judged = Verdict & { readonly allowed: boolean };

/**
 * A decision without a source: conditions on the source count against the caller. If another rule may decide for a call
 * from another source, `reason` names it.
 */
export type Explained = Judged & {
  readonly listed: boolean;
  /** What the refusal advises the caller to change; null if nothing. */
  readonly remedy: string | null;
  /** Whether a different source may change what is listed or allowed. */
  readonly elsewhere: boolean;
};

/** An item that is not offered, and the reason. */
export type Missing = {
  readonly kind: Kind;
  readonly canonical: string;
  readonly reason: string;
  /** Set if it represents the unknown rest of a list. */
  readonly cut?: true;
  /** Set if it lacks only its own name or URI on the wire. */
  readonly unnamed?: true;
};

export type Catalog = {
  /** Reports whether the configuration has the scope, which is a server or a toolset. */
  hasScope(scope: string): boolean;
  /** Reports whether the scope has a server on which the caller has any right. */
  hasScopeFor(scope: string, who: Principal, source: Source): boolean;
  /** Reports whether the scope offers the item to the party's kind of client, regardless of the caller's rights. */
  offers(kind: Kind, name: unknown, scope: string | null, party: Party): boolean;
  /**
   * Returns the route of the item that a call names, within its scope. Throws `unknown-tool` and the like, in the same
   * words for missing and for hidden items, and `invalid-params` if the value is not a name or several servers offer
   * the URI. Throws `upstream-down` if the caller may use the item, but its server is down and has not been listed yet.
   */
  resolve(call: IdentifiedCall, kind: Kind, name: unknown): Route;
  /** Reports whether a scope includes this route, listed or not: a toolset is what it names and does not exclude. */
  admits(route: Route, scope: string | null): boolean;
  /** Returns the route of a tool, or of an item of another list, by its canonical name; null if there is none. */
  find(canonical: string, list?: ListName): Route | null;
  /** Returns the route to a server's resource by its own URI, listed or not, or to a method of its extensions. */
  routeTo(kind: "extension" | "resource", server: string, name: string): Route;
  /** Returns all routes of a URI, including those given to these callers, regardless of rights. For operators. */
  locate(uri: string, callers: readonly Principal[]): readonly Route[];
  /**
   * Returns the list page at the call's cursor, as JSON in the format of the caller's era. Throws `invalid-params` for
   * a cursor that was not issued to this caller.
   */
  list(call: IdentifiedCall, list: ListName): string;
  /** Returns the routes of the tools in that list, from all pages. */
  tools(from: Viewpoint): readonly Route[];
  /** Returns a fingerprint of what the caller sees in these lists. */
  shown(from: Viewpoint, group: ListGroup): string;
  /** Returns the ids of the servers that have something in this scope. */
  servers(scope: string | null): ReadonlySet<string>;
  /** Returns the instructions (length-bounded) of the scope's servers on which this caller has any right, or null. */
  instructions(scope: string | null, who: Principal, source: Source): string | null;
  /**
   * Rewrites the URIs of links in a result to those on the wire; returns the same text if nothing changed. For a URI
   * that is in no list, the catalog remembers which server gave it to the caller.
   */
  outgoing(route: Route, result: string, who: Principal): string;
  /** Returns the route of a URI that its server says is below a resource of its own, and remembers it for `who`. */
  below(route: Route, uri: string, who: Principal): Route;
  /** Returns every item of a list in a scope, sorted by wire name. */
  routes(list: ListName, scope: string | null): readonly Route[];
  /** Returns what a scope does not offer, with reasons. */
  missing(scope: string | null): readonly Missing[];
  /** Like `missing`, for all scopes together: toolsets may assign names that cannot be told apart. */
  allMissing(): readonly Missing[];
};

/** Checks a call's arguments against its tool's schema; throws `invalid-arguments` with each path that is wrong. */
export type Validator = {
  check(call: Call, route: Route): void;
  /** Returns why a tool's schema cannot be used, which hides the tool; null if it can. */
  refuses(tool: Tool): string | null;
  /** Returns why legacy clients, which compile every schema as is, could not use this outputSchema; null if fine. */
  refusesOutput(schema: Record<string, unknown>): string | null;
  /** Returns the schema patterns that are not enforced, because matching them could take unbounded time. */
  unchecked(tool: Tool): readonly string[];
};

/** The outcome of a question that a server asked a caller. */
type InputOutcome = "asked" | "accept" | "decline" | "cancel" | "error" | "refused";

export type InputStep = {
  readonly request: InputRequest;
  readonly outcome: InputOutcome;
  /** The caller's answer, raw JSON; null before it answered. */
  readonly answer: string | null;
  /** The rule that forbade the question; null if none did. */
  readonly rule: string | null;
  readonly reason?: string;
  /** The call in which the question was asked, if that was another request; null if it was this one. */
  readonly of?: string | null;
};

export type Audit = {
  /** Commits the intent (`call.begin`) as durably as the mode demands, and sets `begun`. Throws `audit-unavailable`. */
  begin(call: RoutedCall): Promise<BegunCall>;
  /** Commits the ending before the reply may leave: `call.end`, or `call.refused` if the call has not begun. */
  end(call: Call): Promise<void>;
  /** Commits a subscription's only record (`call.end` with `facts`); sets `recordedOnce`. May throw as `begin`. */
  once(call: Call, facts: Facts): Promise<void>;
  /**
   * Commits one step of a question during a call (`call.input`), before the question is sent or its answer passed on.
   * Throws `audit-unavailable`.
   */
  input(call: Call, step: InputStep): Promise<void>;
  /** Commits one step of a question to a session outside of any call (`session.input`). Throws `audit-unavailable`. */
  inputOutside(to: Reached, server: string, step: InputStep): Promise<void>;
  recordEvent(event: AuditEvent): Promise<void>;
};

/** Called at each change of a resource with the params that its server sent; null if changes may have been missed. */
export type Updated = (params: string | null) => void;

/** The tasks of one server whose changes a caller wants to hear of; the ids are the server's. */
export type TaskWatch = {
  readonly server: string;
  readonly taskIds: readonly string[];
  /** Called with each new state, raw JSON. */
  changed(task: string): void;
  /** Called when the server will report no more on these tasks, or may have left something out. */
  lost(): void;
};

/** The tasks on which a server now reports, and a function that ends the reports. */
export type Followed = { readonly taskIds: ReadonlySet<string>; readonly end: () => void };

/** The managed servers. `send` is the path's last step before the answer; the rest is for the catalog and operators. */
export type Upstreams = {
  /**
   * Throws `upstream-down`, `overloaded`, `upstream-overloaded`, `upstream-protocol`, `result-too-large`, `timeout`,
   * `lost`, `cancelled`.
   */
  send(call: BegunCall, request: UpstreamRequest): Promise<Reply>;
  /**
   * Keeps a server that a reload removes alive for a call that may send several requests, as a call in flight does,
   * until the returned function is called.
   */
  hold(server: string): () => void;
  /**
   * Subscribes a caller to a resource and calls `updated` at each update; equal subscriptions of one instance share one
   * at the server. Returns a function that ends the subscription. Throws as `send` does.
   */
  subscribe(call: IdentifiedCall, route: Route, updated: Updated): Promise<() => void>;
  /** Asks a server to report on these tasks. Throws as `send` does, and if it reports on none of them. */
  followTasks(call: IdentifiedCall, watch: TaskWatch): Promise<Followed>;
  /**
   * Asks the servers that the caller may use for the tools that they show only to its kind of client, and waits for
   * pending listings of its own instances. Returns null if these tools are known, or cannot be found out now.
   */
  learnTools(party: Party, mayUse: (server: string) => boolean): Promise<unknown> | null;
  /** Returns, by server, the tools that only the instances of this party's calls offer. */
  callerTools(party: Party): ReadonlyMap<string, readonly Tool[]>;
  /** Forwards a notification of a legacy caller to the instances that were started for its session. */
  notify(call: IdentifiedCall, method: string): void;
  /** Ends the instances that serve only this legacy session. */
  endSession(id: string): void;
  listings(): readonly Listing[];
  status(): readonly ServerStatus[];
  /**
   * Resolves once every server that starts at boot or was never listed has been listed or has failed. Does not wait for
   * servers that were taken over from the previous set.
   */
  settled(): Promise<void>;
};

/** A server inside the process: the gateway's own tools. */
export type LocalServer = {
  readonly id: string;
  readonly tools: readonly Tool[];
  call(call: IdentifiedCall, tool: string, args: unknown): Promise<Reply>;
};

/** Maximum time for which a text is sealed, ms. A key can still open texts for this long after it last sealed one. */
export const maxSealMs = 366 * 86_400_000;

/** Maximum length of a sealed text, in characters. A longer one was not sealed here. */
export const maxSealedLength = 256 * 1024;

/** Seals texts that callers keep and send back, so that they can neither read nor change them (AES-256-GCM). */
export type Sealer = {
  /**
   * Returns URL-safe text that `open` accepts for `ttl` ms (`maxSealMs` at most) with the same purpose and context.
   */
  seal(purpose: string, context: string, value: string, ttl: number): string;
  /** Returns null if the text was not sealed here for this purpose and context, or has expired. */
  open(purpose: string, context: string, sealed: string): string | null;
};

/** The client of a legacy session that can be reached outside of any call. */
export type Reached = {
  readonly who: Principal;
  readonly source: Source;
  readonly session: ClientSession;
  /** As `Call.ask`. */
  readonly ask: NonNullable<Call["ask"]>;
};

/** A recipient of notifications about changes outside of any call. */
export type Listener = Pick<Viewpoint, "who" | "source" | "scope" | "capabilities"> & {
  /** The lists whose changes it is notified of. */
  readonly lists: ReadonlySet<ListGroup>;
  /** Receives the method and raw `params` of each notification. */
  readonly send: (method: string, params: string | null) => void;
  /** Set for a legacy session, which also receives what servers send it outside of any exchange. */
  readonly session?: ClientSession;
  /** Asks the client of the session. */
  readonly ask?: Reached["ask"];
  /** While it returns false, the client cannot be asked; `send` keeps its notifications. */
  readonly here?: () => boolean;
};

/** Notifies listeners outside of any call: legacy sessions with an open stream, and modern `subscriptions/listen`. */
export type Notifier = {
  /**
   * Adds a listener and returns a function that removes it. A session that joins again is notified of the lists that
   * changed since it last listened. Throws `overloaded`.
   */
  join(listener: Listener): () => void;
  /** Records that a caller just got one of these lists: it is notified of later changes, even back to what it was. */
  served(to: Viewpoint, group: ListGroup): void;
  /** Returns the client of a legacy session; null if it cannot be reached now. */
  reach(session: string): Reached | null;
  /** Notifies one legacy session, if it has joined. */
  notify(session: ClientSession, method: string, params: string | null): void;
};
