import type { ClientSession } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { type ClientCapabilities, type LogLevel, noCapabilities, type Revision } from "../core/inbound.ts";
import type { Principal } from "../core/principal.ts";
import { ClientCalls } from "./calls.ts";
import { OpenQuestions } from "./open-questions.ts";
import { type Backlog, Streams } from "./streams.ts";
import type { Traffic } from "./traffic.ts";

/** What `initialize` declares for a new session, and the endpoint that received it. */
export type Opening = Pick<Session, "revision" | "scope"> & { readonly capabilities?: ClientCapabilities | null };

type SessionInit = Opening & {
  readonly who: Principal;
  readonly backlog: Backlog;
  readonly traffic: Traffic;
  /** Monotonic µs. */
  readonly now: number;
};

/** Returns an unguessable id of 256 random bits. */
export function secretId(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");
}

/** One legacy client after `initialize`, over any transport. Parts that idle clients never need are made on demand. */
export class Session implements ClientSession {
  readonly id = secretId();
  readonly owner: string;
  readonly consumer: string;
  /** The id of its owner's key. */
  readonly key: string | null;
  readonly revision: Revision;
  readonly capabilities: ClientCapabilities;
  /** The server or toolset whose endpoint opened the session; null for all servers. */
  readonly scope: string | null;
  logLevel: LogLevel | null = null;
  /** Monotonic µs of the last request, or of the end of its call. */
  seen: number;
  /** Ends its notifications outside calls, which outlast its stream in case a client that was cut off comes back. */
  leave: (() => void) | null = null;
  /** Stops watching for the loss of its key, which ends the session. */
  unwatch: (() => void) | null = null;
  readonly #backlog: Backlog;
  readonly #traffic: Traffic;
  #calls: ClientCalls | null = null;
  #subscriptions: Map<string, { readonly target: string; readonly end: () => void }> | null = null;
  /** Subscriptions that have been requested but are not established yet. */
  #asked: Set<{ readonly uri: string; readonly ended: () => void }> | null = null;
  #questions: OpenQuestions | null = null;
  #streams: Streams | null = null;
  #ended = false;

  constructor({ who, revision, capabilities, scope, now, backlog, traffic }: SessionInit) {
    this.owner = who.id;
    this.consumer = who.consumerId;
    this.key = who.keyId;
    this.revision = revision;
    this.capabilities = capabilities ?? noCapabilities;
    this.scope = scope;
    this.seen = now;
    this.#backlog = backlog;
    this.#traffic = traffic;
    traffic.sessions++;
  }

  subscribedTo(uri: string): string | null {
    return this.#subscriptions?.get(uri)?.target ?? null;
  }

  keepSubscription(uri: string, target: string, end: () => void): void {
    if (this.#ended) return end();
    this.#stop(uri);
    (this.#subscriptions ??= new Map()).set(uri, { target, end });
  }

  endSubscription(uri: string): void {
    for (const asked of this.#asked ?? []) if (asked.uri === uri) asked.ended();
    this.#stop(uri);
  }

  endSubscriptions(): void {
    for (const { end } of this.#subscriptions?.values() ?? []) end();
    this.#subscriptions?.clear();
  }

  askSubscription(uri: string, ended: () => void): () => void {
    const asked = { uri, ended };
    (this.#asked ??= new Set()).add(asked);
    return () => void this.#asked?.delete(asked);
  }

  #stop(uri: string): void {
    const subscription = this.#subscriptions?.get(uri);
    this.#subscriptions?.delete(uri);
    subscription?.end();
  }

  get calls(): ClientCalls {
    return (this.#calls ??= new ClientCalls());
  }

  get streams(): Streams {
    return (this.#streams ??= new Streams(this.#backlog));
  }

  /** The open questions to its client; closed once the session has ended. */
  get questions(): OpenQuestions {
    const questions = (this.#questions ??= new OpenQuestions(this.#traffic));
    if (this.#ended) questions.close();
    return questions;
  }

  get busy(): boolean {
    return Boolean(this.#streams?.listener) || (this.#calls !== null && this.#calls.size > 0);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Rejects all open and future questions, because the gateway is stopping and accepts no more answers. */
  stopAsking(): void {
    const message = "The gateway is stopping, so the client's answer could no longer reach it.";
    this.questions.close(new Failure("input-unavailable", message));
  }

  /** Ends its calls, questions, subscriptions and streams; `why` is for callers, absent if the client has gone. */
  end(why?: string): void {
    if (!this.#ended) this.#traffic.sessions--;
    this.#ended = true;
    this.#streams?.listener?.close();
    this.leave?.();
    this.unwatch?.();
    this.#questions?.close();
    this.#calls?.cancelAll(why);
    this.endSubscriptions();
    this.#streams?.forget();
  }
}
