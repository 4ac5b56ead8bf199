import { endingWith } from "../core/cancel.ts";
import type { Clock } from "../core/clock.ts";
import { Counts } from "../core/counts.ts";
import { Failure } from "../core/failure.ts";
import { lossOf, type Loss, type Principal } from "../core/principal.ts";
import { type Opening, Session } from "./session.ts";
import { Backlog } from "./streams.ts";
import { Traffic } from "./traffic.ts";

export type SessionLimits = {
  total: number;
  perOwner: number;
  /** New sessions per owner and minute: stops clients that loop, but not the many that open a session for each call. */
  perMinute: number;
  /** Idle time in ms after which a session without an open stream or running call ends. */
  idle: number;
};

const sessionDefaults: SessionLimits = { total: 10_000, perOwner: 1_000, perMinute: 6_000, idle: 30 * 60_000 };
const minuteUs = 60_000_000;
/** How long a new session is spared, so that its client can begin a call or open a stream before it is replaced. */
const newSessionGraceUs = 10_000_000;
/** The share of an owner's sessions that are spared as new, at the cost of sessions in use. */
const newSessionShare = 0.1;

/** Why a session ended, as the audit log names it. */
export type SessionEnd = "deleted" | "idle" | Loss | "replaced" | "shutdown" | "closed";

type SessionsOptions = {
  clock: Clock;
  limits?: Partial<SessionLimits>;
  traffic?: Traffic;
  onEnd: (session: Session, reason: SessionEnd) => void;
};

/** The legacy HTTP sessions of this process. Their number and idle time are limited; each belongs to one principal. */
export class Sessions {
  readonly #byId = new Map<string, Session>();
  readonly #perOwner = new Counts();
  /** How many sessions an owner has opened, and since when (monotonic µs); oldest first. */
  readonly #opened = new Map<string, { readonly since: number; count: number }>();
  readonly #endOnLoss = endingWith<Session>((key, session) => this.end(session, lossOf(key)));
  readonly #clock: Clock;
  readonly #limits: SessionLimits;
  readonly #traffic: Traffic;
  readonly #onEnd: SessionsOptions["onEnd"];
  readonly #backlog = new Backlog();

  constructor({ clock, limits, traffic = new Traffic(), onEnd }: SessionsOptions) {
    this.#clock = clock;
    this.#limits = { ...sessionDefaults, ...limits };
    this.#traffic = traffic;
    this.#onEnd = onEnd;
  }

  get size(): number {
    return this.#byId.size;
  }

  /** Opens a session; an owner with too many loses one. Throws `overloaded` at the total and per-minute limits. */
  open(who: Principal, opening: Opening): Session {
    this.#count(who.id);
    if (this.#perOwner.of(who.id) >= this.#limits.perOwner) this.#replaceOneOf(who.id);
    if (this.#byId.size >= this.#limits.total) this.sweep();
    if (this.#byId.size >= this.#limits.total) {
      throw new Failure("overloaded", `All ${this.#limits.total} sessions are in use; try again later.`, {
        retryAfterMs: 5_000,
      });
    }
    const now = this.#clock.mono();
    const session = new Session({ ...opening, who, backlog: this.#backlog, traffic: this.#traffic, now });
    this.#byId.set(session.id, session);
    this.#perOwner.add(who.id);
    session.unwatch = this.#endOnLoss(who.revoked, session);
    return session;
  }

  #count(owner: string): void {
    const now = this.#clock.mono();
    for (const [id, { since }] of this.#opened) {
      if (now - since < minuteUs) break;
      this.#opened.delete(id);
    }
    const opened = this.#opened.get(owner) ?? { since: now, count: 0 };
    const { perMinute } = this.#limits;
    if (opened.count >= perMinute) {
      const retryAfterMs = Math.ceil((opened.since + minuteUs - now) / 1000);
      const message = `More than ${perMinute} sessions were opened within a minute; keep one open and reuse it.`;
      throw new Failure("overloaded", message, { retryAfterMs });
    }
    opened.count++;
    this.#opened.set(owner, opened);
  }

  /** Returns the owner's session of this endpoint and marks it as used, or null if the owner has none with this id. */
  find(id: string, owner: string, scope: string | null): Session | null {
    const session = this.#byId.get(id);
    if (!session || session.owner !== owner || session.scope !== scope) return null;
    this.touch(session);
    return session;
  }

  touch(session: Session): void {
    const now = this.#clock.mono();
    // Uses in quick succession count as one.
    if (now - session.seen < Math.min(1_000, this.#limits.idle / 16) * 1_000) return;
    session.seen = now;
    // Re-inserting keeps the map ordered by last use, so that the oldest is always first.
    if (this.#byId.delete(session.id)) this.#byId.set(session.id, session);
  }

  /** Ends a session. The reason is null if its opening was not recorded, so that its end is not recorded either. */
  end(session: Session, reason: SessionEnd | null): void {
    if (!this.#byId.delete(session.id)) return;
    this.#perOwner.add(session.owner, -1);
    session.end(reason === "replaced" ? "The session was replaced by a newer one of the same key." : undefined);
    if (reason !== null) this.#onEnd(session, reason);
  }

  /** Ends sessions that have been idle for too long, and forgets streams that no client came back to. */
  sweep(): void {
    const now = this.#clock.mono();
    this.#backlog.sweep(now);
    for (const session of this.#byId.values()) {
      if (session.seen > now - this.#limits.idle * 1000) return;
      if (!session.busy) this.end(session, "idle");
    }
  }

  stopAsking(): void {
    for (const session of this.#byId.values()) session.stopAsking();
  }

  endAll(reason: SessionEnd): void {
    // A map may be iterated while the current entry is deleted.
    for (const session of this.#byId.values()) this.end(session, reason);
  }

  /** Ends a session idle for `newSessionGraceUs`, or one of too many new ones, or the one idle for longest. */
  #replaceOneOf(owner: string): void {
    const own = this.#byId.values().filter((session) => session.owner === owner);
    const since = this.#clock.mono() - newSessionGraceUs;
    const most = Math.max(1, this.#limits.perOwner * newSessionShare);
    let oldest: Session | null = null;
    let first: Session | null = null;
    let young = 0;
    for (const session of own) {
      oldest ??= session;
      if (session.busy) continue;
      first ??= session;
      if (session.seen <= since || ++young > most) return this.end(first, "replaced");
    }
    if (oldest) this.end(oldest, "replaced");
  }
}
