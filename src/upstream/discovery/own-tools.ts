import { type Audience, nobody } from "../../core/audience.ts";
import type { Tool } from "../../core/call.ts";
import { within } from "../../core/wait.ts";
import { reasonOf } from "../faults.ts";
import type { Terms } from "../host.ts";
import type { Slot } from "../instances/pool.ts";
import type { Spec } from "../instances/spec.ts";
import type { Starter } from "../instances/starter.ts";
import type { Instance } from "../link/link.ts";
import { drainList, readTools } from "./listing.ts";

/** Most characters of definitions that are kept of the instances of one server. */
const mostCharacters = 4 * 1024 ** 2;

/** What an instance offers that the gateway's own does not. */
type Offer = {
  tools: readonly Tool[];
  /** Whether a reading is due: whatever is told until it begins is in it. */
  due: boolean;
  /** The last reading, once it has ended. */
  reading: Promise<void>;
  /** When it began (`performance.now`). */
  readAt: number;
};

/**
 * The tools that a server offers only to one caller's instance, such as those that a call has switched on there. An
 * instance is asked for them when it says that its tools have changed.
 */
export class OwnTools {
  readonly #terms: Terms;
  readonly #starter: Starter;
  readonly #common: () => readonly Tool[];
  readonly #offers = new Map<Slot, Offer>();
  #all: readonly Tool[] = [];

  /** `common`: the tools that every caller is shown. */
  constructor(terms: Terms, starter: Starter, common: () => readonly Tool[]) {
    this.#terms = terms;
    this.#starter = starter;
    this.#common = common;
  }

  /** The tools of all instances, each with those to whom it is shown. */
  get all(): readonly Tool[] {
    return this.#all;
  }

  /** The instance of this slot says that its tools have changed. */
  changed(slot: Slot): void {
    const offer = this.#offerOf(slot);
    if (offer.due) return;
    offer.due = true;
    offer.reading = offer.reading.then(() => this.#readWhenDue(slot, offer));
  }

  /** Resolves once it is known what this caller's instances offer; null if nothing is being read. */
  learn(principal: string, session: string | null): Promise<unknown> | null {
    const own = [...this.#offers].filter(
      ([{ spec }]) => spec.owner === principal && (spec.session === null || spec.session === session),
    );
    return own.length === 0 ? null : Promise.all(own.map(([, { reading }]) => reading));
  }

  /** The instance of this slot has ended, or has lost what it had. */
  forget(slot: Slot): void {
    const offer = this.#offers.get(slot);
    if (!offer) return;
    this.#offers.delete(slot);
    if (offer.tools.length > 0) this.#publish();
  }

  #offerOf(slot: Slot): Offer {
    const known = this.#offers.get(slot);
    if (known) return known;
    const offer: Offer = { tools: [], due: false, reading: Promise.resolve(), readAt: -Infinity };
    this.#offers.set(slot, offer);
    return offer;
  }

  async #readWhenDue(slot: Slot, offer: Offer): Promise<void> {
    const instance = await slot.starting.catch(() => null);
    if (!instance) return this.forget(slot);
    const pause = offer.readAt + this.#terms.host.tuning.debounce - performance.now();
    if (pause > 0) await within(instance.link.ended, pause, null, () => {});
    offer.due = false;
    offer.readAt = performance.now();
    if (this.#offers.get(slot) === offer) await this.#read(slot, offer, instance);
  }

  async #read(slot: Slot, offer: Offer, { link, peer }: Instance): Promise<void> {
    const linkHost = this.#starter.linkHost({ notified: () => true, renewed: () => {} });
    try {
      const { texts } = await drainList(link, linkHost, peer, "tools");
      if (this.#offers.get(slot) !== offer) return;
      const common = new Set(this.#common().map(({ name }) => name));
      const { items } = readTools(texts, peer.era, this.#terms.host);
      const tools = this.#admitted(
        offer,
        items.filter(({ name }) => !common.has(name)),
      );
      const same = tools.length === offer.tools.length && tools.every(({ text }, at) => text === offer.tools[at]?.text);
      offer.tools = tools;
      if (!same) this.#publish();
    } catch (error) {
      this.#warn("the tools of an instance cannot be had", { reason: reasonOf(error) });
    }
  }

  /** The tools for which there is room, and which do not contradict those of other instances. */
  #admitted(offer: Offer, tools: readonly Tool[]): readonly Tool[] {
    const others = [...this.#offers.values()].filter((other) => other !== offer).flatMap((other) => other.tools);
    const defined = new Map(others.map(({ name, text }) => [name, text]));
    let room = others.reduce((sum, { text }) => sum - text.length, mostCharacters);
    const refused = ({ name, text }: Tool): string | null => {
      if ((defined.get(name) ?? text) !== text) return "another caller's instance defines it differently";
      if (text.length > room) return `such tools have more than ${mostCharacters} characters`;
      room -= text.length;
      return null;
    };
    return tools.filter((tool) => {
      const reason = refused(tool);
      if (reason) this.#warn("a tool of one caller's instance is not offered", { name: tool.name, reason });
      return reason === null;
    });
  }

  #warn(text: string, facts: Readonly<Record<string, string>>): void {
    this.#terms.host.log.warn(text, { server: this.#terms.options.id, ...facts });
  }

  #publish(): void {
    this.#all = [...this.#offers].flatMap(([{ spec }, { tools }]) => {
      const shownTo = audienceOf(spec);
      return shownTo ? tools.map((tool) => ({ ...tool, shownTo })) : tools;
    });
    this.#terms.host.changed();
  }
}

/** Whom an instance serves; null for everybody. */
function audienceOf({ owner, session }: Spec): Audience | null {
  if (session !== null) return { ...nobody, sessions: new Set([session]) };
  return owner === null ? null : { ...nobody, principals: new Set([owner]) };
}
