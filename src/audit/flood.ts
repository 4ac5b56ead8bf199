import type { Call } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import type { SessionEvent } from "../core/event.ts";
import { createCoalescer } from "./coalesce.ts";
import type { Draft, Drafts } from "./draft.ts";

type FailedAuth = { readonly src: string; readonly code: string };

export type FloodOptions = {
  readonly drafts: Drafts;
  readonly clock: Clock;
  /** Records a draft that no call waits for. */
  readonly offer: (draft: Draft) => void;
};

const freeRefusals = 60;
const freeSessions = 60;

/** Keeps callers from filling the log: what they cause too often in a minute is counted and recorded in one. */
export class FloodControl {
  readonly #options: FloodOptions;
  readonly #refusals;
  readonly #failedAuth;
  readonly #sessions;

  constructor(options: FloodOptions) {
    const mono = (): number => options.clock.mono();
    this.#options = options;
    this.#refusals = createCoalescer<Draft>(freeRefusals, mono);
    this.#failedAuth = createCoalescer<FailedAuth>(1, mono);
    this.#sessions = createCoalescer<SessionEvent>(freeSessions, mono);
  }

  /** The record of a refused call; null where the refusal is only counted, or the caller is unknown. */
  refused(call: Call): Draft | null {
    if (!call.who) {
      this.#failedToIdentify(call);
      return null;
    }
    let draft: Draft | null = null;
    const sample = (): Draft => (draft ??= this.#options.drafts.refused(call));
    return this.#refusals.take(call.who.id, call.status, sample) ? sample() : null;
  }

  /** Whether a session's event gets a record of its own; if not, it is counted. */
  admitsSession(event: SessionEvent): boolean {
    return this.#sessions.take(`${event.type} ${event.actor}`, event.type, () => event);
  }

  /** Records what was counted in minutes that are over; `all` also ends those that are not. */
  recordCounted(all: boolean): void {
    const { drafts, clock, offer } = this.#options;
    const now = { at: clock.now(), mono: clock.mono() };
    for (const { sample, count } of this.#refusals.due(all)) offer(countedRefusal(sample, count, now));
    for (const { sample, count } of this.#sessions.due(all)) offer(drafts.event({ ...sample, facts: { count } }));
    for (const { sample, count } of this.#failedAuth.due(all)) offer(drafts.authFailed(sample.src, sample.code, count));
  }

  /** One record per source and minute: whoever guesses keys does not fill the log. */
  #failedToIdentify({ source, failure }: Call): void {
    if (failure?.row.status !== "auth-failed") return;
    const { drafts, offer } = this.#options;
    const src = drafts.source(source);
    const { code } = failure;
    if (this.#failedAuth.take(src, code, () => ({ src, code }))) offer(drafts.authFailed(src, code, 1));
  }
}

/** One record for many refusals of one principal: who and how often, no longer what. */
function countedRefusal(sample: Draft, count: number, now: { at: number; mono: number }): Draft {
  const { caller, subj, consumer, roles, src, st, code } = sample.fields;
  return {
    fields: { type: "call.refused", ...now, caller, subj, consumer, roles, src, st, code, count },
    payload: null,
  };
}
