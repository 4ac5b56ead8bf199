import type { Tool } from "../../core/call.ts";
import { inTurns, Turn } from "../../core/turns.ts";
import { within } from "../../core/wait.ts";
import { reasonOf } from "../faults.ts";
import type { Terms } from "../host.ts";
import type { Slot } from "../instances/pool.ts";
import type { Instance } from "../link/link.ts";
import { drainList, readTools } from "./listing.ts";
import { pauseAfter } from "./relisting.ts";

/** Limits per instance: the tools kept, their characters, and the time for reading them, ms. */
const most = { tools: 500, characters: 256 * 1024, ms: 10_000 };
/** The maximum time that a caller waits for the next reading to begin, ms. */
const maxPause = 1_000;

/** What an instance offers beyond the gateway's own instance. */
type Offer = {
  tools: readonly Tool[];
  /** Whether a reading is due; it covers all changes announced before it begins. */
  due: boolean;
  /** Resolves when the last reading has ended. */
  reading: Promise<void>;
  /** When the next reading may begin (`performance.now`). */
  next: number;
  /** Whether the last reading failed. */
  failed: boolean;
  /** Why the last reading is incomplete; null if it is complete. */
  incomplete: string | null;
};

const noOffer = { tools: [], due: false, next: 0, failed: false, incomplete: null } as const;

/**
 * The tools that a server offers only to one caller's instance, for example because a call has enabled them there. They
 * are read when the instance announces that its tools have changed.
 */
export class CallerTools {
  readonly #terms: Terms;
  readonly #common: () => readonly Tool[];
  readonly #offers = new Map<Slot, Offer>();

  /** `common`: the tools that every caller is shown. */
  constructor(terms: Terms, common: () => readonly Tool[]) {
    this.#terms = terms;
    this.#common = common;
  }

  get empty(): boolean {
    return this.#offers.size === 0;
  }

  /** Returns the tools that only the instance of this slot offers. */
  of(slot: Slot): readonly Tool[] {
    return this.#offers.get(slot)?.tools ?? [];
  }

  /** Handles the notification that the tools of this slot's instance have changed. */
  changed(slot: Slot): void {
    // The last messages of an instance may be read after its end.
    if (slot.instance?.link.over) return;
    const offer = this.#offers.getOrInsertComputed(slot, () => ({ ...noOffer, reading: Promise.resolve() }));
    if (offer.due) return;
    offer.due = true;
    offer.reading = offer.reading.then(() => this.#readWhenDue(slot, offer));
  }

  /** Asks again the instances that did not answer. */
  retry(): void {
    for (const [slot, { failed }] of this.#offers) if (failed) this.changed(slot);
  }

  /** Resolves once the tools are known; null if the last reading failed or the next one is not due soon. */
  learn(slot: Slot): Promise<void> | null {
    const offer = this.#offers.get(slot);
    const soon = performance.now() + maxPause;
    return offer && !offer.failed && offer.next <= soon ? offer.reading : null;
  }

  /** Forgets the tools of an instance that has ended or lost its state. */
  forget(slot: Slot): void {
    const offer = this.#offers.get(slot);
    if (!offer) return;
    this.#offers.delete(slot);
    if (offer.tools.length > 0) this.#terms.host.callerChanged();
  }

  async #readWhenDue(slot: Slot, offer: Offer): Promise<void> {
    const instance = await slot.starting.catch(() => null);
    if (!instance) return this.forget(slot);
    const pause = offer.next - performance.now();
    if (pause > 0) await within(instance.link.ended, pause, null, () => {});
    offer.due = false;
    if (this.#offers.get(slot) !== offer) return;
    const turn = new Turn();
    let failed = false;
    const incomplete = await this.#read(offer, instance, turn).catch((error: unknown) => {
      failed = true;
      return reasonOf(error);
    });
    offer.next = performance.now() + pauseAfter(turn.total, this.#terms);
    // The end of the instance is reported elsewhere.
    if (this.#offers.get(slot) !== offer) return;
    if (incomplete !== null && incomplete !== offer.incomplete)
      this.#terms.host.log.warn("not all tools of an instance are known", {
        server: this.#terms.options.id,
        reason: incomplete,
      });
    Object.assign(offer, { failed, incomplete });
  }

  /** Reads the tools. Returns why some are not offered; null if all are. */
  async #read(offer: Offer, instance: Instance, turn: Turn): Promise<string | null> {
    const { host } = this.#terms;
    const { texts, warning } = await drainList(instance, "tools", { ms: most.ms });
    const common = new Set(this.#common().map(({ name }) => name));
    const { items, missing } = await inTurns(readTools(texts, host), turn);
    const known = new Map(offer.tools.map((tool) => [tool.text, tool]));
    let room = most.characters;
    const more = items.filter(({ name }) => !common.has(name));
    const kept = more.slice(0, most.tools).filter(({ text }) => (room -= text.length) >= 0);
    const tools = kept.map((tool) => known.get(tool.text) ?? tool);
    const same = tools.length === offer.tools.length && tools.every((tool, at) => tool === offer.tools[at]);
    if (!same) {
      offer.tools = tools;
      host.callerChanged();
    }
    if (warning !== null) return warning;
    if (more.length > most.tools) return `it has more than ${most.tools} tools of its own`;
    if (room < 0) return `the tools of its own have more than ${most.characters} characters`;
    const [first] = missing;
    return first ? `${missing.length} of its tools cannot be offered; the reason for the first: ${first.reason}` : null;
  }
}
