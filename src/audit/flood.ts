import type { Call } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import { common, type Counted, createCoalescer } from "../core/coalesce.ts";
import type { Facts, SessionEvent } from "../core/event.ts";
import type { Logger } from "../core/log.ts";
import type { Principal } from "../core/principal.ts";
import { timeText } from "../core/time-text.ts";
import type { Draft, Drafts } from "./draft.ts";
import type { Fields } from "./record.ts";

export type FloodOptions = {
  readonly drafts: Drafts;
  readonly clock: Clock;
  readonly log: Logger;
  /** Resolves to whether the log accepted the record. */
  readonly offer: (draft: Draft) => Promise<boolean>;
};

type About = Pick<Fields, "method" | "srv" | "tool" | "rule">;
/** The members of a record that stands for many occurrences; those that differ are left out. */
type Told = About & Pick<Fields, "type" | "caller" | "subj" | "consumer" | "roles" | "src" | "st" | "code" | "cause">;
type Refusal = Told & { readonly us: number; readonly al: number };

const maxSingleRefusals = 60;
const maxSingleSessions = 60;

/** Keeps callers from filling the log: occurrences beyond a limit per minute are counted and recorded together. */
export class FloodControl {
  readonly #options: FloodOptions;
  readonly #refusals;
  readonly #failedAuth;
  readonly #sessions;
  /** Counted records that the log refused. Until it accepts them, new counts keep accumulating. */
  #untaken: Draft[] = [];

  constructor(options: FloodOptions) {
    const { clock } = options;
    this.#options = options;
    this.#refusals = createCoalescer(maxSingleRefusals, clock, joinRefusals);
    this.#failedAuth = createCoalescer(1, clock, join);
    this.#sessions = createCoalescer(maxSingleSessions, clock, join);
  }

  /** Returns the record of a refused call, or null if the refusal is only counted or the caller is unknown. */
  refused(call: Call): Draft | null {
    const { who, failure, status } = call;
    if (!who) {
      this.#failedToIdentify(call);
      return null;
    }
    const about = aboutOf(call);
    const told = () => this.#refusal(call, who, about);
    if (!this.#refusals.take(who.id, failure?.code ?? status, told, groupOf(about))) return null;
    const draft = this.#options.drafts.refused(call);
    return this.#refusals.counts(who.id) ? withCountingNote(draft) : draft;
  }

  /** Reports whether a session event gets a record of its own; if not, it is counted. */
  admitsSession(event: SessionEvent): boolean {
    return this.#sessions.take(`${event.type} ${event.actor}`, event.type, () => {
      const { type, caller, subj, consumer } = this.#options.drafts.event(event).fields;
      return { type, caller, subj, consumer };
    });
  }

  /** Records the counts of the minutes that have ended; `all` includes the current minute. */
  recordCounted(all: boolean): void {
    const untaken = this.#untaken;
    this.#untaken = [];
    for (const draft of untaken) void this.#offer(draft);
    if (untaken.length > 0 && !all) return;
    for (const counted of this.#refusals.due(all)) {
      const { us, al, ...told } = counted.all;
      const mean = (sum: number): number => Math.round(sum / counted.count);
      this.#record({ ...told, us: mean(us), al: mean(al), count: counted.count }, timesOf(counted));
    }
    for (const counted of this.#sessions.due(all)) {
      this.#record(counted.all, { count: counted.count, ...timesOf(counted) });
    }
    for (const counted of this.#failedAuth.due(all)) {
      this.#record({ ...counted.all, count: counted.count }, timesOf(counted));
    }
  }

  /** One record per source, cause and minute: guesses must neither fill the log nor hide the use of a revoked key. */
  #failedToIdentify({ source, failure }: Call): void {
    if (failure?.row.status !== "auth-failed") return;
    const { drafts, log } = this.#options;
    const { code, row, detail } = failure;
    const src = drafts.source(source);
    const cause = detail.internal;
    const told: Told = { type: "auth.failed", src, st: row.status, code, cause };
    if (this.#failedAuth.take(src, code, () => told, cause)) this.#record({ ...told, count: 1 });
    if (cause) log.warn("credential refused", { src, code, cause }, src);
  }

  /** Builds only what the count needs, since this runs for every refusal of a flood. */
  #refusal({ source, status, failure, took, argumentsText }: Call, who: Principal, about: About): Refusal {
    return {
      ...about,
      type: "call.refused",
      caller: who.keyId ?? who.id,
      subj: who.id,
      consumer: who.consumerId,
      roles: who.roles,
      src: this.#options.drafts.source(source),
      st: status,
      code: failure?.code,
      us: took,
      al: Buffer.byteLength(argumentsText),
    };
  }

  #record(told: Omit<Fields, "at" | "mono">, facts?: Facts): void {
    const { clock } = this.#options;
    void this.#offer({ fields: { ...told, at: clock.now(), mono: clock.mono(), facts }, payload: null });
  }

  async #offer(draft: Draft): Promise<void> {
    if (!(await this.#options.offer(draft))) this.#untaken.push(draft);
  }
}

/** Describes a call using only names from a bounded set; callers can invent any number of the others. */
function aboutOf({ route, knownMethod, verdict, failure }: Call): About {
  const isListed = route?.kind === "tool" || route?.kind === "prompt";
  const method = route || knownMethod !== "other" ? knownMethod : undefined;
  const rule = verdict?.rule ?? failure?.detail.rule;
  return { method, srv: route?.server, tool: isListed ? route.name : undefined, rule };
}

/** Returns the group of a call: usage is counted per server and tool. */
const groupOf = ({ method, srv, tool = "" }: About): string => (srv === undefined ? "" : `${method} ${srv} ${tool}`);

/** Marks the last record before counting begins; without this note, a flood would appear to end here. */
function withCountingNote({ fields, payload }: Draft): Draft {
  const next = "(further refusals of this caller are counted and recorded once a minute)";
  return { fields: { ...fields, reason: [fields.reason, next].filter(Boolean).join(" ") }, payload };
}

function join(a: Told, b: Told): Told {
  return { ...common(a, b), type: a.type };
}

/** Sums durations and lengths; the record holds their means. */
function joinRefusals(a: Refusal, b: Refusal): Refusal {
  return { ...join(a, b), us: a.us + b.us, al: a.al + b.al };
}

/** Returns when it happened: the record is written later, by a minute or more. */
function timesOf({ first, last }: Counted<unknown>): Facts {
  return { first: timeText(first), last: timeText(last) };
}
