import type { AbortSignalLike } from "../../core/cancel.ts";
import type { Failure } from "../../core/failure.ts";
import { isObject, objectIn } from "../../core/json.ts";
import { sleep, within } from "../../core/wait.ts";
import { Backoff } from "../backoff.ts";
import type { Instance } from "./link.ts";
import { query } from "./query.ts";

/** The notifications to request from a modern server (2026-07-28, subscriptions). */
export type ListenFilter = Readonly<Record<string, true | readonly string[]>>;

/** What to listen to, and what to do with the notifications. */
export type Listening = {
  readonly instance: Instance;
  readonly filter: ListenFilter;
  /** Capabilities of the client that the request is for; none if the gateway listens for itself. */
  readonly declares?: Readonly<Record<string, unknown>>;
  heard(method: string, params: string): void;
  /** The server continues after an interruption in which notifications may have been missed. */
  missed(): void;
};

/** The part of a filter that a server honors. */
type Honoured = Readonly<Record<string, unknown>>;

/**
 * Listens until the signal aborts, and again whenever the server ends the request; stops if the server refuses or its
 * link ends. Calls `acknowledged` each time the server starts to send notifications. Never throws.
 */
export async function holdListen(
  listening: Listening,
  signal: AbortSignal,
  acknowledged?: (honoured: Honoured) => void,
): Promise<void> {
  const { instance, filter, declares } = listening;
  const backoff = new Backoff();
  let again = false;
  while (!signal.aborted && !instance.link.over) {
    backoff.begin();
    let known = false;
    const round = new AbortController();
    const notified = (method: string, params: string): void => {
      // On stdio, a server ends a listening request in the same way as a client.
      if (method === "notifications/cancelled") return round.abort();
      if (method !== "notifications/subscriptions/acknowledged") return listening.heard(method, params);
      known = true;
      if (again) listening.missed();
      again = true;
      acknowledged?.(honouredIn(params));
    };
    const answer = await query(instance.link, {
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

/** A listening request that its server has acknowledged. */
export type Begun = {
  readonly honoured: Honoured;
  /** Ends the request. */
  readonly listen: AbortController;
  /** Resolves once the request has ended, for example because its server continues with less than before. */
  readonly ended: Promise<void>;
};

/**
 * Starts to listen; throws `refusal` if the server refuses, or does not acknowledge the request within `timeout` ms or
 * before `signal` fires.
 */
export async function beginListen(
  listening: Listening,
  timeout: number,
  refusal: Failure,
  signal: AbortSignalLike | null = null,
): Promise<Begun> {
  const listen = new AbortController();
  const { promise, resolve, reject } = Promise.withResolvers<Honoured>();
  let first: Honoured | null = null;
  const ended = holdListen(listening, listen.signal, (honoured) => {
    resolve(honoured);
    first ??= honoured;
    // The earlier promise no longer holds.
    if (!covers(honoured, first)) listen.abort();
  });
  void ended.then(() => reject(refusal));
  try {
    const honoured = await within(promise, timeout, signal, () => Promise.reject(refusal));
    return { honoured, listen, ended };
  } catch (error) {
    listen.abort();
    throw error;
  }
}

/** Reports whether a server honors all resources and tasks that it honored `before`. */
const covers = (honoured: Honoured, before: Honoured): boolean =>
  Object.entries(before).every(([key, old]) => {
    const value = honoured[key];
    return !Array.isArray(old) || (Array.isArray(value) && new Set<unknown>(old).isSubsetOf(new Set<unknown>(value)));
  });

function honouredIn(params: string): Honoured {
  const { notifications } = objectIn(params);
  return isObject(notifications) ? notifications : {};
}
