import { Failure } from "./failure.ts";
import { List } from "./linked-list.ts";
import { memoize } from "./memoize.ts";
import { cut } from "./text.ts";

// A reason is free text for people, so its sender must not determine how much of it is passed on.
const maxReasonLength = 500;

/** The abort reason used when the requester withdraws its request. */
export class Withdrawn {
  /** The requester's own words; null if it gave none. */
  readonly said: string | null;

  constructor(said: unknown) {
    this.said = typeof said === "string" ? cut(said, maxReasonLength) : null;
  }
}

/** Signals that something has to end: the part of AbortSignal that listeners need. */
export type AbortSignalLike = {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: "abort", listener: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: "abort", listener: () => void): void;
};

/**
 * Ends something: the part of AbortController that is needed to abort. A call that its caller did not cancel is aborted
 * with a sentence for the caller.
 */
export type AbortControllerLike = { abort(why?: string | Withdrawn): void; readonly signal: AbortSignalLike };

/**
 * A controller and its signal in one. Every call has one, and an AbortController would be its most expensive part: the
 * garbage collector has to follow it into native code.
 */
export class Cancel implements AbortControllerLike, AbortSignalLike {
  #aborted = false;
  #why: string | Withdrawn | undefined;
  #listeners: (() => void)[] | null = null;

  get aborted(): boolean {
    return this.#aborted;
  }

  get reason(): string | Withdrawn | undefined {
    return this.#why;
  }

  get signal(): AbortSignalLike {
    return this;
  }

  abort(why?: string | Withdrawn): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#why = why;
    const listeners = this.#listeners ?? [];
    this.#listeners = null;
    for (const listener of listeners) listener();
  }

  /** As with an AbortSignal, a listener added after the abort is not called. */
  addEventListener(_: "abort", listener: () => void): void {
    if (!this.#aborted) (this.#listeners ??= []).push(listener);
  }

  removeEventListener(_: "abort", listener: () => void): void {
    const at = this.#listeners?.indexOf(listener) ?? -1;
    if (at >= 0) this.#listeners?.splice(at, 1);
  }
}

/** Throws `cancelled` if the signal has fired; for work in steps that its requester may abandon between two of them. */
export function throwIfGivenUp({ aborted }: AbortSignalLike): void {
  if (aborted) throw new Failure("cancelled", "The request was canceled.");
}

/**
 * Calls `end` once when the signal fires, or in a microtask if it has already fired, which a listener alone would miss.
 * Returns a function that stops listening.
 */
export function onAbort(signal: AbortSignalLike, end: () => void): () => void {
  if (signal.aborted) queueMicrotask(end);
  else signal.addEventListener("abort", end, { once: true });
  return () => signal.removeEventListener("abort", end);
}

/**
 * Returns a function that registers items to be ended when a signal fires, or at once if it has already fired; that
 * function returns one that unregisters the item. All items of a signal share one listener.
 */
export function endingWith<T>(end: (signal: AbortSignal, one: T) => void): (signal: AbortSignal, one: T) => () => void {
  const waitingFor = memoize((signal: AbortSignal) => {
    const all = new List<T>();
    signal.addEventListener("abort", () => all.items.forEach((one) => end(signal, one)), { once: true });
    return all;
  });
  return (signal, one) => {
    if (signal.aborted) {
      end(signal, one);
      return () => {};
    }
    const all = waitingFor(signal);
    const node = all.add(one);
    return () => void all.delete(node);
  };
}

/** Returns a native AbortSignal, for platform functions that accept nothing else. */
export function abortSignalOf(ending: AbortSignalLike): AbortSignal {
  if (ending instanceof AbortSignal) return ending;
  const controller = new AbortController();
  if (ending.aborted) controller.abort();
  else ending.addEventListener("abort", () => controller.abort(), { once: true });
  return controller.signal;
}
