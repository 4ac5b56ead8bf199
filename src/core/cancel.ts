import { Failure } from "./failure.ts";
import { List } from "./linked-list.ts";
import { memoize } from "./memoize.ts";
import { cut } from "./text.ts";

// A reason is for people to read; whoever gives it does not choose how much of it travels.
const longestReason = 500;

/** What is aborted with when whoever asked for something does not want it any more. */
export class Withdrawn {
  /** Their own words; null if they gave none. */
  readonly said: string | null;

  constructor(said: unknown) {
    this.said = typeof said === "string" ? cut(said, longestReason) : null;
  }
}

/** Tells that something has to end: the part of an AbortSignal that listeners need. */
export type AbortSignalLike = {
  readonly aborted: boolean;
  /** What `abort` was given. */
  readonly reason?: unknown;
  addEventListener(type: "abort", listener: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: "abort", listener: () => void): void;
};

/**
 * Ends something: the part of an AbortController that aborting needs. A call that its caller did not cancel is ended
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

/** For work between whose steps somebody may have ceased to wait for it. */
export function throwIfGivenUp({ aborted }: AbortSignalLike): void {
  if (aborted) throw new Failure("cancelled", "It was given up.");
}

/**
 * Calls `end` once when the signal fires, or soon if it has fired already, which a listener alone would miss. Returns a
 * function that stops listening.
 */
export function onAbort(signal: AbortSignalLike, end: () => void): () => void {
  if (signal.aborted) queueMicrotask(end);
  else signal.addEventListener("abort", end, { once: true });
  return () => signal.removeEventListener("abort", end);
}

/**
 * Makes a function that ends things of one kind when a signal fires, at once if it has fired already, and returns the
 * way to stop waiting for that. One listener serves all things that wait for the same signal.
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

/** A signal for the platform's own functions, which take only an AbortSignal. */
export function abortSignalOf(ending: AbortSignalLike): AbortSignal {
  if (ending instanceof AbortSignal) return ending;
  const controller = new AbortController();
  if (ending.aborted) controller.abort();
  else ending.addEventListener("abort", () => controller.abort(), { once: true });
  return controller.signal;
}
