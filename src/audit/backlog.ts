import type { Call } from "../core/call.ts";
import type { List, ListNode } from "../core/linked-list.ts";
import type { Logger } from "../core/log.ts";
import type { Draft, Drafts } from "./draft.ts";
import type { Writer } from "./writer.ts";

/** The ending of a call, not recorded yet; `seq` is its begin record. */
type Ending = { readonly seq: number; readonly draft: Draft };

export type BacklogOptions = {
  readonly writer: Writer;
  readonly drafts: Drafts;
  readonly log: Logger;
  /** Begin records whose end is not committed yet; recording an ending removes its entry. */
  readonly open: List<number>;
  /** Endings left unrecorded by an earlier process. */
  readonly lost: readonly Ending[];
};

const maxWaiting = 10_000;

/** Events that could not be recorded when they happened; they are recorded once the log accepts records again. */
export class Backlog {
  readonly #options: BacklogOptions;
  readonly #endings: { readonly begin: ListNode<number>; readonly draft: Draft }[];
  /** Acts that took effect, oldest first. */
  readonly #acts: Draft[] = [];
  #dropped = 0;

  constructor(options: BacklogOptions) {
    this.#options = options;
    this.#endings = options.lost.map(({ seq, draft }) => ({ begin: options.open.add(seq), draft }));
  }

  get acts(): number {
    return this.#acts.length;
  }

  /** Number of acts that will never be recorded because the backlog was full. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Adds the ending of a call, unless the call has no begin record. */
  addEnding(call: Call): void {
    const begin = call.beginning;
    if (!begin || this.#endings.length >= maxWaiting) return;
    this.#endings.push({ begin, draft: this.#options.drafts.lost(call, begin.item) });
  }

  /** Adds an act; beyond the cap it is only counted and logged, since it has happened and cannot be refused. */
  addAct(draft: Draft): void {
    if (this.#acts.length < maxWaiting) return void this.#acts.push(draft);
    this.#dropped += 1;
    this.#options.log.error("an act will not be recorded: the audit backlog is full", { type: draft.fields.type });
  }

  /**
   * Tries to record everything. `now` also tries while the log seems to accept no records: before a new act, which must
   * not appear to have come first, and at the end, when there is no later attempt.
   */
  record(now = false): void {
    const { writer, open } = this.#options;
    if (writer.failing !== null && !now) return;
    for (const draft of this.#acts.splice(0)) {
      writer.add(draft, "commit", { done: () => {}, failed: () => this.addAct(draft) });
    }
    for (const ending of this.#endings.splice(0)) {
      writer.add(ending.draft, "commit", {
        done: () => void open.delete(ending.begin),
        failed: () => void this.#endings.push(ending),
      });
    }
  }
}
