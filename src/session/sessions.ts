import type { ClientSession } from "../core/call.ts";
import { type ClientCapabilities, noCapabilities, type Revision } from "../core/inbound.ts";
import type { Principal } from "../core/principal.ts";
import type { Clock } from "../core/clock.ts";
import { Failure } from "../core/failure.ts";
import { notificationText } from "../mcp/outbound.ts";

/** Where messages outside any call go: the open GET stream of a session, or the pipe of a stdio client. */
export type Sink = { send(message: string): void; close(): void };

/** One legacy client after `initialize`. */
export type Session = ClientSession & {
  /** Monotonic µs of the last request. */
  seen: number;
  /** Running calls by the client's raw id text, for `notifications/cancelled`. */
  readonly calls: Map<string, AbortController>;
  sink: Sink | null;
  /** Stops the session from following its key's revocation. */
  readonly forget: () => void;
};

export type SessionLimits = {
  total: number;
  perOwner: number;
  /** Idle time after which a session without an open stream ends, ms. */
  idle: number;
};

const sessionDefaults: SessionLimits = { total: 10_000, perOwner: 1_000, idle: 30 * 60_000 };

/** Why a session ended, for the audit log. */
export type SessionEnd = "deleted" | "idle" | "revoked" | "replaced" | "shutdown";

export type SessionsOptions = {
  clock: Clock;
  limits?: SessionLimits;
  onEnd: (session: Session, reason: SessionEnd) => void;
};

/** The legacy sessions of this process: bounded, expiring, bound to their principal. */
export class Sessions {
  readonly #byId = new Map<string, Session>();
  readonly #perOwner = new Map<string, number>();
  readonly #clock: Clock;
  readonly #limits: SessionLimits;
  readonly #onEnd: SessionsOptions["onEnd"];

  constructor({ clock, limits = sessionDefaults, onEnd }: SessionsOptions) {
    this.#clock = clock;
    this.#limits = limits;
    this.#onEnd = onEnd;
  }

  get size(): number {
    return this.#byId.size;
  }

  /** Throws `overloaded` when all places are taken; an owner past its share loses its oldest session. */
  open(who: Principal, revision: Revision, capabilities: ClientCapabilities = noCapabilities): Session {
    this.sweep();
    if ((this.#perOwner.get(who.id) ?? 0) >= this.#limits.perOwner) this.#endOldestOf(who.id);
    if (this.#byId.size >= this.#limits.total) {
      throw new Failure("overloaded", `All ${this.#limits.total} sessions are in use; try again later.`, {
        retryAfterMs: 5_000,
      });
    }
    const id = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");
    const cut = () => this.end(id, "revoked");
    who.revoked.addEventListener("abort", cut, { once: true });
    const session: Session = {
      id,
      owner: who.id,
      revision,
      capabilities,
      logLevel: null,
      subscriptions: new Map(),
      notify: (method, params) => session.sink?.send(notificationText(method, params)),
      seen: this.#clock.mono(),
      calls: new Map(),
      sink: null,
      forget: () => who.revoked.removeEventListener("abort", cut),
    };
    this.#byId.set(id, session);
    this.#perOwner.set(who.id, (this.#perOwner.get(who.id) ?? 0) + 1);
    return session;
  }

  /** The session, touched; null when it is unknown or has ended. The caller compares the owner. */
  get(id: string): Session | null {
    const session = this.#byId.get(id);
    if (!session) return null;
    session.seen = this.#clock.mono();
    // Re-inserting keeps the map ordered by last use, so that the oldest is always first.
    this.#byId.delete(id);
    this.#byId.set(id, session);
    return session;
  }

  end(id: string, reason: SessionEnd): boolean {
    const session = this.#byId.get(id);
    if (!session) return false;
    this.#byId.delete(id);
    const left = (this.#perOwner.get(session.owner) ?? 1) - 1;
    if (left > 0) this.#perOwner.set(session.owner, left);
    else this.#perOwner.delete(session.owner);
    session.forget();
    session.sink?.close();
    for (const end of session.subscriptions.values()) end();
    this.#onEnd(session, reason);
    return true;
  }

  /** Ends what has been idle too long. */
  sweep(): void {
    const oldest = this.#clock.mono() - this.#limits.idle * 1000;
    for (const session of this.#byId.values()) {
      if (session.seen > oldest) return;
      if (session.sink || session.calls.size > 0) continue;
      this.end(session.id, "idle");
    }
  }

  /** Sends a message to every session with an open stream. */
  broadcast(message: string): void {
    for (const session of this.#byId.values()) session.sink?.send(message);
  }

  endAll(reason: SessionEnd): void {
    // Deleting the entry at hand does not disturb a map's iteration.
    for (const id of this.#byId.keys()) this.end(id, reason);
  }

  #endOldestOf(owner: string): void {
    for (const session of this.#byId.values()) {
      if (session.owner === owner) return void this.end(session.id, "replaced");
    }
  }
}
