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
  /**
   * New sessions that one owner may open in a minute. The limit is for clients that loop. Many clients open a session
   * for each call, and must not reach it.
   */
  perMinute: number;
  /** Idle time after which a session without an open stream ends, ms. */
  idle: number;
};

const sessionDefaults: SessionLimits = { total: 10_000, perOwner: 1_000, perMinute: 6_000, idle: 30 * 60_000 };
const minuteUs = 60_000_000;
/** How long a client has to begin a call or open a stream, or the next one would end its new session. */
const youngUs = 10_000_000;
/** The share of an owner's places that sessions which have that time may take from those in use. */
const youngShare = 0.1;

/** Why a session ended, as the audit log names it. */
export type SessionEnd = "deleted" | "idle" | Loss | "replaced" | "shutdown" | "closed";

type SessionsOptions = {
  clock: Clock;
  limits?: Partial<SessionLimits>;
  traffic?: Traffic;
  onEnd: (session: Session, reason: SessionEnd) => void;
};

/**
 * The legacy HTTP sessions of this process. Their number and idle time are limited, and each belongs to one principal.
 */
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

  /**
   * Opens a session. Throws `overloaded` if all places are taken or the owner opens too many per minute. An owner with
   * too many sessions loses one.
   */
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
      const message = `More than ${perMinute} sessions were opened within a minute; keep one and use it again.`;
      throw new Failure("overloaded", message, { retryAfterMs });
    }
    opened.count++;
    this.#opened.set(owner, opened);
  }

  /** The owner's session of this endpoint, marked as used. Null if it is unknown, has ended or belongs to another. */
  find(id: string, owner: string, scope: string | null): Session | null {
    const session = this.#byId.get(id);
    if (!session || session.owner !== owner || session.scope !== scope) return null;
    this.touch(session);
    return session;
  }

  touch(session: Session): void {
    const now = this.#clock.mono();
    // Uses soon after one another count as one.
    if (now - session.seen < Math.min(1_000, this.#limits.idle / 16) * 1_000) return;
    session.seen = now;
    // Re-inserting keeps the map ordered by last use, so that the oldest is always first.
    if (this.#byId.delete(session.id)) this.#byId.set(session.id, session);
  }

  /** Null as the reason: its opening is not on record, so its end must not be. */
  end(session: Session, reason: SessionEnd | null): void {
    if (!this.#byId.delete(session.id)) return;
    this.#perOwner.add(session.owner, -1);
    session.end(reason === "replaced" ? "The session was ended for a newer one of the same key." : undefined);
    if (reason !== null) this.#onEnd(session, reason);
  }

  /** Ends sessions that were idle for too long, and forgets streams that nobody came back to. */
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

  /**
   * Ends one that has been idle for long, or one of too many that have just begun; only where there is neither, the one
   * whose last request is longest ago.
   */
  #replaceOneOf(owner: string): void {
    const own = this.#byId.values().filter((session) => session.owner === owner);
    const since = this.#clock.mono() - youngUs;
    const most = Math.max(1, this.#limits.perOwner * youngShare);
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
