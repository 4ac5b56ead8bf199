import type { Call } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import type { Facts, SessionEvent } from "../core/event.ts";
import { timeText } from "../core/time-text.ts";
import { type Counted, createCoalescer } from "./coalesce.ts";
import type { Draft, Drafts, FailedAuth } from "./draft.ts";

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
    const { clock } = options;
    this.#options = options;
    this.#refusals = createCoalescer<Draft>(freeRefusals, clock);
    this.#failedAuth = createCoalescer<FailedAuth>(1, clock);
    this.#sessions = createCoalescer<SessionEvent>(freeSessions, clock);
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
    for (const counted of this.#refusals.due(all)) offer(countedRefusal(counted, now));
    for (const counted of this.#sessions.due(all)) {
      offer(drafts.event({ ...counted.sample, facts: { count: counted.count, ...timesOf(counted) } }));
    }
    for (const counted of this.#failedAuth.due(all)) {
      offer(drafts.authFailed(counted.sample, counted.count, timesOf(counted)));
    }
  }

  /** One record per source and minute: whoever guesses keys does not fill the log. */
  #failedToIdentify({ source, failure }: Call): void {
    if (failure?.row.status !== "auth-failed") return;
    const { drafts, offer } = this.#options;
    const src = drafts.source(source);
    const failed = { src, code: failure.code };
    if (this.#failedAuth.take(src, failed.code, () => failed)) offer(drafts.authFailed(failed, 1));
  }
}

/** One record for many refusals of one principal: who, how often and when, no longer what. */
function countedRefusal(counted: Counted<Draft>, now: { at: number; mono: number }): Draft {
  const { caller, subj, consumer, roles, src, st, code } = counted.sample.fields;
  const told = { st, code, count: counted.count, facts: timesOf(counted) };
  return { fields: { type: "call.refused", ...now, caller, subj, consumer, roles, src, ...told }, payload: null };
}

/** When it happened: the record of what was counted is written later, up to a minute and more. */
function timesOf({ first, last }: Counted<unknown>): Facts {
  return { first: timeText(first), last: timeText(last) };
}
