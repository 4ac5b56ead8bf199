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

// What the stages of the path need from each other. Modules of one level never import each other: they meet here.

/** The parts of a request that identify its sender. */
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
  /**
   * Before any work, every request: those in flight and their weights (`weightOf`), per principal and in all. Throws
   * `overloaded`.
   */
  admit(who: Principal, weight: number): void;
  /** Gives back what `admit` took; called once for each admitted request. */
  release(who: Principal, weight: number): void;
  /**
   * Counts what a request weighs that was answered but goes on in memory, until the function is called; throws as
   * `admit`.
   */
  carry(who: Principal, weight: number): () => void;
  /**
   * After the decision: takes one token each from the bucket of the consumer, or of the key that has a rate of its own,
   * and those of the tool that is called. Where none is, `route` leads to something else or is null. Throws
   * `rate-limited`.
   */
  take(who: Principal, route: Route | null): void;
  /** The limit whose rate is 0, so that it lets no call of this target by this caller pass; null if there is none. */
  barring(who: Principal, route: Route): string | null;
};

export type Policy = {
  /** SHA-256 of the compiled rules, hex; recorded with every decision. */
  readonly digest: string;
  /** The source properties that some rule tests, as one string (a cache key); empty if no rule tests any. */
  sourceKey(source: Source): string;
  /**
   * Sets the call's `verdict` and `policy`, also where it throws: `denied` (with the rule and what to change), or what
   * `notFound` makes where the target is hidden from the caller. `named`: the resource that the `uri` of an extension's
   * method means.
   */
  decide(call: Call, who: Principal, route: Route, named?: Route | null): Verdict;
  /**
   * Whether some arguments would be allowed (for a template: some URIs). A list shows exactly these. Without a source,
   * a target whose decision depends on the source is not listed.
   */
  lists(who: Principal, route: Route, source?: Source): boolean;
  /**
   * The decision on these arguments, without a call; `args` null asks whether some arguments would be allowed. Without
   * a source, conditions on the source count against the caller.
   */
  judge(who: Principal, source: Source | null, route: Route, args: unknown): Judged;
  /** Whether any policy names one of these roles; without one, nothing is allowed. */
  names(roles: readonly string[]): boolean;
  /** The decision on these arguments, for an operator who does not know where the call comes from. */
  explain(who: Principal, route: Route, args: unknown): Explained;
  /**
   * Whether a server may ask this of the caller. The call is allowed already, so only a guardrail can forbid the
   * question.
   */
  admitsInput(who: Principal, source: Source, server: string, method: InputMethod): Judged;
  /** Whether the caller may use a capability of the gateway. */
  permits(who: Principal, capability: Capability, source: Source): boolean;
};

/** What a rule can allow of the gateway besides its tools, as if it were a tool of server `mcpgw`. */
export const gatewayCapabilities = ["metrics", "status", "audit_all"] as const;
export type Capability = (typeof gatewayCapabilities)[number];

type Judged = Verdict & { readonly allowed: boolean };

/**
 * A decision without a source: conditions on the source count against the caller. If another rule may decide for a call
 * from another source, `reason` names it.
 */
export type Explained = Judged & {
  readonly listed: boolean;
  /** What the refusal tells the caller to change; null if nothing. */
  readonly remedy: string | null;
  /** Whether the source may change what is listed or allowed. */
  readonly elsewhere: boolean;
};

/** One thing that is not offered, and why. */
export type Missing = {
  readonly kind: Kind;
  readonly canonical: string;
  readonly reason: string;
  /** True if it stands for the unknown rest of a list. */
  readonly cut?: true;
  /** True if it lacks only a name or URI of its own on the wire. */
  readonly unnamed?: true;
};

export type Catalog = {
  /** Whether this configuration has such a scope: a server or a toolset. */
  hasScope(scope: string): boolean;
  /** Whether it has such a scope for this caller: one with a server on which the caller has any right. */
  hasScopeFor(scope: string, who: Principal, source: Source): boolean;
  /** Whether the scope has something of this kind and wire name for such a client, whatever the caller's rights. */
  offers(kind: Kind, name: unknown, scope: string | null, party: Party): boolean;
  /**
   * The route of the thing that a call names, within its scope. Throws `unknown-tool` and its kin, in the same words
   * for missing and for hidden things, and `invalid-params` if the value is no name or several servers offer the URI.
   */
  resolve(call: IdentifiedCall, kind: Kind, name: unknown): Route;
  /** Whether a scope includes this route, listed or not. A toolset includes what it names and does not exclude. */
  admits(route: Route, scope: string | null): boolean;
  /** The route of a tool, or of an item of another list, by its canonical name; null if there is none. */
  find(canonical: string, list?: ListName): Route | null;
  /** The route to a server's resource by its own URI, listed or not, or to a method of its extensions. */
  routeTo(kind: "extension" | "resource", server: string, name: string): Route;
  /** The routes of a URI, whoever may use them, those given to these callers included. For operators. */
  locate(uri: string, callers: readonly Principal[]): readonly Route[];
  /**
   * The result of a list request as JSON text, in the wording of the caller's era: the page at the call's cursor.
   * Throws `invalid-params` for a cursor that was not made for this caller.
   */
  list(call: IdentifiedCall, list: ListName): string;
  /** The routes of the tools in that list, on all pages. */
  tools(from: Viewpoint): readonly Route[];
  /** A fingerprint of what the caller sees in these lists. */
  shown(from: Viewpoint, group: ListGroup): string;
  /** Ids of the servers that have something in this scope. */
  servers(scope: string | null): ReadonlySet<string>;
  /**
   * The instructions of those servers in the scope on which this caller has any right, bounded in length; null if there
   * are none.
   */
  instructions(scope: string | null, who: Principal, source: Source): string | null;
  /**
   * A result of the route's server. URIs in its links become those on the wire; nothing else changes. For a URI that no
   * list has, the catalog remembers which server gave it to the caller. Returns the same text if nothing changed.
   */
  outgoing(route: Route, result: string, who: Principal): string;
  /**
   * The route of a URI that, by its server's word, lies below one of that server's resources. It is remembered for the
   * caller in the same way.
   */
  below(route: Route, uri: string, who: Principal): Route;
  /** Every item of a list in a scope, sorted by wire name. */
  routes(list: ListName, scope: string | null): readonly Route[];
  /** What a scope does not offer, each with a reason. */
  missing(scope: string | null): readonly Missing[];
  /** The same of all scopes together: toolsets may give names that cannot be told apart. */
  allMissing(): readonly Missing[];
};

/** Checks a call's arguments against its tool's schema; throws `invalid-arguments` naming each path that is wrong. */
export type Validator = {
  check(call: Call, route: Route): void;
  /** Why a tool's schema cannot be used, which hides the tool; null if it can. */
  refuses(tool: Tool): string | null;
  /** Why legacy clients, which compile every schema as it is, could not use this outputSchema; null if they could. */
  refusesOutput(schema: Record<string, unknown>): string | null;
  /** The patterns of a tool's schema that arguments are not held to, as they could not be matched in bounded time. */
  unchecked(tool: Tool): readonly string[];
};

/** The outcome of a question that a server put to a caller. */
type InputOutcome = "asked" | "accept" | "decline" | "cancel" | "error" | "refused";

export type InputStep = {
  readonly request: InputRequest;
  readonly outcome: InputOutcome;
  /** What the caller answered, raw JSON; null before it did. */
  readonly answer: string | null;
  /** The rule that forbade it; null: none did. */
  readonly rule: string | null;
  readonly reason?: string;
  /** The call in which the question was put, if that was another request; null if it was this one. */
  readonly of?: string | null;
};

export type Audit = {
  /** Commits the intent (`call.begin`) as durably as the mode demands, and sets `begun`. Throws `audit-unavailable`. */
  begin(call: RoutedCall): Promise<BegunCall>;
  /** Commits the ending before the reply may leave: `call.end`, or `call.refused` if the call has not begun. */
  end(call: Call): Promise<void>;
  /**
   * Commits the only record of a subscription (`call.end` with `facts`) and sets `recordedOnce`. Throws
   * `audit-unavailable`.
   */
  once(call: Call, facts: Facts): Promise<void>;
  /**
   * Commits one step of a question to the caller during a call (`call.input`): before the question leaves, and before
   * its answer is passed on. Throws `audit-unavailable`.
   */
  input(call: Call, step: InputStep): Promise<void>;
  /** Commits one step of a question to a session outside of any call (`session.input`). Throws `audit-unavailable`. */
  inputOutside(to: Reached, server: string, step: InputStep): Promise<void>;
  /** Commits an event; resolves once it is committed. */
  recordEvent(event: AuditEvent): Promise<void>;
};

/** Called at each change of a resource with the params that its server sent; null if changes may have been missed. */
export type Updated = (params: string | null) => void;

/** The tasks of one server that a caller wants to hear of; the ids are the server's. */
export type TaskWatch = {
  readonly server: string;
  readonly taskIds: readonly string[];
  /** Called with each new state, raw JSON. */
  changed(task: string): void;
  /** The server will tell no more of these tasks, or may have left something out. */
  lost(): void;
};

/** The tasks that a server now tells of, and a function that ends it. */
export type Followed = { readonly taskIds: ReadonlySet<string>; readonly end: () => void };

/** The managed servers. `send` is the path's last step before the answer; the rest is for the catalog and operators. */
export type Upstreams = {
  /**
   * Throws `upstream-down`, `overloaded`, `upstream-overloaded`, `upstream-protocol`, `result-too-large`, `timeout`,
   * `lost`, `cancelled`.
   */
  send(call: BegunCall, request: UpstreamRequest): Promise<Reply>;
  /**
   * Keeps a server that a reload removes for a call that may send several requests, as a call in flight does, until the
   * function is called that it returns.
   */
  hold(server: string): () => void;
  /**
   * Subscribes a caller to a resource; equal subscriptions of one instance share one at the server. `updated` is called
   * at each update. Returns a function that ends the subscription. Throws as `send` does.
   */
  subscribe(call: IdentifiedCall, route: Route, updated: Updated): Promise<() => void>;
  /** Asks a server to tell of these tasks. Throws if it tells of none of them, and as `send` does. */
  followTasks(call: IdentifiedCall, watch: TaskWatch): Promise<Followed>;
  /**
   * Asks the servers that this caller may use for the tools that they offer only to clients such as its, and waits for
   * what its own instances are being asked for; null if that is known, or cannot be found out now.
   */
  learnTools(party: Party, mayUse: (server: string) => boolean): Promise<unknown> | null;
  /** The tools that only the instances which this party's calls need offer, by server. */
  callerTools(party: Party): ReadonlyMap<string, readonly Tool[]>;
  /** Passes a notification of a legacy caller on to the instances that were started for its session. */
  notify(call: IdentifiedCall, method: string): void;
  /** Ends the instances that were started for one legacy session alone. */
  endSession(id: string): void;
  listings(): readonly Listing[];
  status(): readonly ServerStatus[];
  /**
   * Resolves once every server that starts at boot, or was never listed, has been listed or has failed; servers that
   * were taken over are left to those who waited for them before.
   */
  settled(): Promise<void>;
};

/** A server inside the process: the gateway's own tools. */
export type LocalServer = {
  readonly id: string;
  readonly tools: readonly Tool[];
  call(call: IdentifiedCall, tool: string, args: unknown): Promise<Reply>;
};

/** The longest time for which a text is sealed, ms. A key can still open for this long after it last sealed. */
export const longestSeal = 366 * 86_400_000;

/** The longest sealed text that can be opened, in characters. A longer one was not sealed here. */
export const longestSealed = 256 * 1024;

/** Seals texts that callers carry and bring back, so that they can neither read nor change them (AES-256-GCM). */
export type Sealer = {
  /**
   * Returns URL-safe text. `open` reads it under the same purpose and context (whom it is for), for `ttl` ms, at most
   * `longestSeal`.
   */
  seal(purpose: string, context: string, value: string, ttl: number): string;
  /** Null for a text that was not sealed here under this purpose and context, or that has expired. */
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

/** One who is told of changes outside of any call. */
export type Listener = Pick<Viewpoint, "who" | "source" | "scope" | "capabilities"> & {
  /** Those of whose changes it is told. */
  readonly lists: ReadonlySet<ListGroup>;
  /** Takes the method and raw `params` of each notification. */
  readonly send: (method: string, params: string | null) => void;
  /** Set for a legacy session, which is also told what servers say to it outside of any exchange. */
  readonly session?: ClientSession;
  /** Reaches the client of the session. */
  readonly ask?: Reached["ask"];
  /** While it is false, the client cannot be asked; `send` keeps what it is told. */
  readonly here?: () => boolean;
};

/**
 * Tells listeners of changes outside of any call: legacy sessions with an open stream, and modern
 * `subscriptions/listen`.
 */
export type Notifier = {
  /**
   * Returns a function that ends it. Lists that changed since a session last listened are announced when it joins
   * again. Throws `overloaded`.
   */
  join(listener: Listener): () => void;
  /**
   * A caller has just been given one of these lists: it is told of what changes afterwards, even back to what it was.
   */
  served(to: Viewpoint, group: ListGroup): void;
  /** The client of a legacy session; null if it cannot be reached now. */
  reach(session: string): Reached | null;
  /** Notifies one legacy session, if it has joined. */
  notify(session: ClientSession, method: string, params: string | null): void;
};
