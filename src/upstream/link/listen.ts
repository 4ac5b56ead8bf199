import type { Failure } from "../../core/failure.ts";
import { isObject, objectIn } from "../../core/json.ts";
import { sleep, within } from "../../core/wait.ts";
import { Backoff } from "../backoff.ts";
import type { Instance, LinkHost } from "./link.ts";
import { query } from "./query.ts";

/** The notifications that a modern server is asked for (2026-07-28, subscriptions). */
export type ListenFilter = Readonly<Record<string, true | readonly string[]>>;

/** A request that listens until its signal aborts. */
export type ListenRequest = {
  readonly instance: Instance;
  /** What the gateway calls itself, read anew for each request: a reload may change it. */
  readonly terms: { readonly host: Pick<LinkHost, "client"> };
  readonly filter: ListenFilter;
  /** Capabilities of the client that the request is for; none where the gateway listens for itself. */
  readonly declares?: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal;
  /**
   * The server has begun to send notifications. `filter` is the part that it honours; `again`: it was interrupted
   * before.
   */
  acknowledged(filter: Readonly<Record<string, unknown>>, again: boolean): void;
  heard(method: string, params: string): void;
};

/** The way in which a server on stdio ends a listening request; clients use the same. */
const ending = "notifications/cancelled";
const acknowledgement = "notifications/subscriptions/acknowledged";

/**
 * Listens, and again whenever the server ends the request; stops when the server refuses or its link ends. Never
 * throws.
 */
export async function holdListen(listening: ListenRequest): Promise<void> {
  const { instance, terms, filter, declares, signal } = listening;
  const backoff = new Backoff();
  let again = false;
  while (!signal.aborted && !instance.link.over) {
    backoff.begin();
    let known = false;
    const round = new AbortController();
    const notified = (method: string, params: string): void => {
      if (method === ending) return round.abort();
      if (method !== acknowledgement) return listening.heard(method, params);
      known = true;
      listening.acknowledged(honoured(params), again);
      again = true;
    };
    const answer = await query(instance.link, terms.host, {
      method: "subscriptions/listen",
      peer: instance.peer,
      timeout: null,
      params: { notifications: filter },
      declares,
      notified,
      signal: AbortSignal.any([signal, round.signal]),
    }).catch(() => null);
    if (answer?.kind === "error" && !known) return;
    await sleep(backoff.next(null), signal);
  }
}

/** A listening request that is about to begin. */
export type Listening = Omit<ListenRequest, "signal" | "acknowledged"> & {
  /** The server goes on after an interruption, during which notifications may have been missed. */
  missed(): void;
};

/** A listening request that its server has acknowledged. */
export type Begun = {
  /** The part of the filter that the server honours. */
  readonly honoured: Readonly<Record<string, unknown>>;
  /** Ends the request. */
  readonly listen: AbortController;
  /** Resolves once the request has ended, for whatever reason. One is that its server goes on with less than before. */
  readonly ended: Promise<void>;
};

/**
 * Begins to listen; throws `refusal` when the server refuses, or does not acknowledge the request within `timeout` ms.
 */
export async function beginListen(listening: Listening, timeout: number, refusal: Failure): Promise<Begun> {
  const listen = new AbortController();
  const { promise, resolve, reject } = Promise.withResolvers<Begun["honoured"]>();
  let first: Begun["honoured"] | null = null;
  const acknowledged = (filter: Begun["honoured"]): void => {
    resolve(filter);
    if (first) listening.missed();
    first ??= filter;
    // What was promised does not hold any more.
    if (!covers(filter, first)) listen.abort();
  };
  const ended = holdListen({ ...listening, signal: listen.signal, acknowledged });
  void ended.then(() => reject(refusal));
  try {
    const honoured = await within(promise, timeout, null, () => Promise.reject(refusal));
    return { honoured, listen, ended };
  } catch (error) {
    listen.abort();
    throw error;
  }
}

/** Whether a server honours all resources and tasks that it honoured `before`. */
const covers = (filter: Begun["honoured"], before: Begun["honoured"]): boolean =>
  Object.entries(before).every(([key, old]) => {
    const value = filter[key];
    return !Array.isArray(old) || (Array.isArray(value) && new Set<unknown>(old).isSubsetOf(new Set<unknown>(value)));
  });

function honoured(params: string): Record<string, unknown> {
  const { notifications } = objectIn(params);
  return isObject(notifications) ? notifications : {};
}
