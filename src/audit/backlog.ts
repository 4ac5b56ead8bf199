import type { Call } from "../core/call.ts";
import type { List, ListNode } from "../core/linked-list.ts";
import type { Logger } from "../core/log.ts";
import type { Draft, Drafts } from "./draft.ts";
import type { Writer } from "./writer.ts";

/** The ending of a call that is still to be recorded; `seq` is its begin record. */
type Ending = { readonly seq: number; readonly draft: Draft };

export type BacklogOptions = {
  readonly writer: Writer;
  readonly drafts: Drafts;
  readonly log: Logger;
  /** Begin records whose end is not committed yet; a recorded ending leaves it. */
  readonly open: List<number>;
  /** Endings that an earlier process left behind. */
  readonly lost: readonly Ending[];
};

const maxWaiting = 10_000;

/** What has happened and could not be recorded then: it is recorded once the log takes records again. */
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

  /** Acts that will never be recorded: too many waited already. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Adds that a call has ended; nothing where it has no begin record. */
  addEnding(call: Call): void {
    const begin = call.beginning;
    if (!begin || this.#endings.length >= maxWaiting) return;
    this.#endings.push({ begin, draft: this.#options.drafts.lost(call, begin.item) });
  }

  /** Past the cap an act is lost to the log; it is counted and logged, since it has happened and cannot be refused. */
  addAct(draft: Draft): void {
    if (this.#acts.length < maxWaiting) return void this.#acts.push(draft);
    this.#dropped += 1;
    this.#options.log.error("an act is not recorded: too many wait to be", { type: draft.fields.type });
  }

  /**
   * Tries to record everything; `now`: also while the log seems to take no records, before an act that must not seem to
   * have come first, and at the end, since there is no later.
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
