import type { ClientSession, Viewpoint } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { hasExtensions, clientKind, isAsSevere } from "../core/inbound.ts";
import { changedMethod, type ListGroup, listGroups } from "../core/lists.ts";
import { isExtensionNotification } from "../core/methods.ts";
import { inTurns, Turn } from "../core/turns.ts";
import type { Catalog, Listener, Notifier as Port, Reached } from "../core/ports.ts";
import type { Notice } from "../core/upstream.ts";
import { stringValue } from "../mcp/json-text.ts";

type Member = Omit<Listener, "session"> &
  Viewpoint & {
    /** The fingerprint of each list as the member last saw it, so that only changes it may see are announced. */
    readonly shown: Map<ListGroup, string>;
  };

/** The part of the catalog that determines what members see. */
export type Shown = Pick<Catalog, "shown" | "servers" | "hasScopeFor">;

/** The lists whose changes legacy clients are notified of. */
export const allLists: ReadonlySet<ListGroup> = new Set(listGroups);

const maxListeners = 20_000;
/** Changes are announced together after this delay, since servers often report the same change several times. */
const debounceMs = 250;
/** Replaces the fingerprint of a list that a session has read partly before a change and partly after it. */
const mixed = "";

/** All listening clients and how to reach them. One notifier per process survives all reloads. */
export class Notifier implements Port {
  readonly #members = new Set<Member>();
  readonly #bySession = new Map<string, Member>();
  readonly #byOwner = new Map<string, Set<Member>>();
  /** What each session knows of each list, even if its client does not listen yet or was cut off and may come back. */
  readonly #known = new WeakMap<ClientSession, Member["shown"]>();
  readonly #catalog: () => Shown;
  /** What readers without a session were given since the pending announcement became due, by `readerKey`. */
  #served = new Map<string, string>();
  /** Set from the first change until everything due has been announced. */
  #timer: Timer | undefined;
  /** Whether something has changed since the last announcement began. */
  #due = false;
  /** How long the last announcement took, ms. */
  #took = 0;

  /** `catalog` returns the current catalog. */
  constructor(catalog: () => Shown) {
    this.#catalog = catalog;
  }

  get size(): number {
    return this.#members.size;
  }

  join: Port["join"] = (listener) => {
    const { session = null, lists } = listener;
    if (this.#members.size >= maxListeners) {
      throw new Failure("overloaded", `All ${maxListeners} listener slots are in use; try again later.`, {
        retryAfterMs: 5_000,
      });
    }
    const inbound = { era: session ? "legacy" : "modern" } as const;
    const shown: Member["shown"] = session ? this.#knownTo(session) : new Map();
    const member: Member = { ...listener, session, inbound, shown };
    for (const list of lists) {
      const now = this.#catalog().shown(member, list);
      // Changes from while there was no stream are announced soon.
      if (shown.getOrInsert(list, now) !== now) this.changed();
    }
    this.#members.add(member);
    if (session) this.#index(member, session);
    return () => this.#leave(member);
  };

  served: Port["served"] = (to, group) => {
    const { session } = to;
    // Without a pending announcement, the next comparison already starts from this list.
    if (!session && !this.#timer) return;
    const now = this.#catalog().shown(to, group);
    if (!session) return void this.#served.set(readerKey(to, group), now);
    const known = this.#knownTo(session);
    if (known.getOrInsert(group, now) !== now) known.set(group, mixed);
  };

  notify: Port["notify"] = ({ id }, method, params) => {
    const member = this.#bySession.get(id);
    if (member && !member.who.revoked.aborted) member.send(method, params);
  };

  reach(id: string): Reached | null {
    const member = this.#bySession.get(id);
    if (!member?.session || !member.ask || isAway(member) || member.who.revoked.aborted) return null;
    const { who, source, session, ask } = member;
    return { who, source, session, ask };
  }

  /** Notifies each listener of its changed lists, once for all changes within a short time. */
  changed(): void {
    this.#due = true;
    const announce = (): void => {
      const turn = new Turn();
      void inTurns(this.#announce(turn), turn);
    };
    // A server whose lists change all the time must not keep the gateway busy.
    this.#timer ??= setTimeout(announce, Math.max(debounceMs, this.#took)).unref();
  }

  /** Passes a server's notification outside any call to the sessions that the server's instance belongs to. */
  notice = (notice: Notice): void => {
    for (const member of this.#reached(notice)) {
      const { session, scope, who, source } = member;
      if (who.revoked.aborted || !session || !passes(notice, session)) continue;
      // A reload may have removed the caller's rights on the server while its instance keeps running.
      const isTheirs = this.#catalog().hasScopeFor(notice.server, who, source);
      if (isTheirs && this.#isWithin(notice, scope)) member.send(notice.method, notice.params);
    }
  };

  /** Whether a notice is for an endpoint. One from a session's own instance is, whatever the session's endpoint. */
  #isWithin({ server, session }: Notice, scope: string | null): boolean {
    return session !== null || scope === null || scope === server || this.#catalog().servers(scope).has(server);
  }

  /** Compares lists for one listener per turn, since each comparison takes time. */
  *#announce(turn: Turn): Generator<void, void> {
    this.#due = false;
    const given = this.#served;
    this.#served = new Map();
    // A listener that joins in the meantime already knows the current lists.
    const before = [...this.#members];
    for (const member of before) {
      yield;
      if (this.#members.has(member)) this.#compare(member, given);
    }
    this.#took = turn.total;
    this.#timer = undefined;
    if (this.#due) this.changed();
  }

  #compare(member: Member, given: ReadonlyMap<string, string>): void {
    if (member.who.revoked.aborted || isAway(member)) return;
    const catalog = this.#catalog();
    for (const list of listGroups) {
      if (!member.lists.has(list)) continue;
      const now = catalog.shown(member, list);
      const served = given.size > 0 && !member.session ? given.get(readerKey(member, list)) : undefined;
      if (now === member.shown.get(list) && now === (served ?? now)) continue;
      member.shown.set(list, now);
      member.send(changedMethod(list), null);
    }
  }

  /** Returns the sessions that a notice is for. One from a shared instance has no single caller, so it is dropped. */
  #reached({ owner, session }: Notice): Iterable<Member> {
    if (session !== null) {
      const member = this.#bySession.get(session);
      return member ? [member] : [];
    }
    return owner === null ? [] : (this.#byOwner.get(owner) ?? []);
  }

  #knownTo(session: ClientSession): Member["shown"] {
    return this.#known.getOrInsertComputed(session, () => new Map());
  }

  #index(member: Member, session: ClientSession): void {
    this.#bySession.set(session.id, member);
    this.#byOwner.getOrInsertComputed(member.who.id, () => new Set()).add(member);
  }

  #leave(member: Member): void {
    this.#members.delete(member);
    const { session, who } = member;
    if (!session) return;
    // If the session has opened a new stream, a newer member has its id.
    if (this.#bySession.get(session.id) === member) this.#bySession.delete(session.id);
    const own = this.#byOwner.get(who.id);
    own?.delete(member);
    if (own?.size === 0) this.#byOwner.delete(who.id);
  }
}

const isAway = ({ here }: Member): boolean => here?.() === false;

/** Identifies readers of a list without a session: all 2026-07-28 clients of this principal and kind. */
const readerKey = ({ who, scope, capabilities }: Viewpoint, group: ListGroup): string =>
  JSON.stringify([group, who.id, scope, clientKind(capabilities)]);

/** Whether a session receives a notice from its instance. */
function passes({ method, params }: Notice, session: ClientSession): boolean {
  if (method === "notifications/elicitation/complete") return true;
  if (isExtensionNotification(method)) return hasExtensions(session.capabilities);
  return method === "notifications/message" && hears(session, stringValue(params, 0, "level"));
}

/** Whether a session wants log messages of this level. Until it sets a level, the server's default applies. */
const hears = ({ logLevel }: ClientSession, level: unknown): boolean =>
  logLevel === null || isAsSevere(level, logLevel);
