import { Counts } from "../../core/counts.ts";
import type { LinkHost } from "../link/link.ts";
import { type HttpWire, maxCourtesies, type Place } from "./wire.ts";

const cancelled = "notifications/cancelled";
/** Maximum number of cancellations that wait: as many as there can be calls in flight to one instance. */
const maxPending = 1_024;

type Word = { readonly text: string; readonly place: Place };

/**
 * Messages that need no answer, with a limit per kind on those in flight. Beyond it, cancellations wait, since they are
 * short and each saves the server work; messages of other kinds are dropped.
 */
export class Courtesies {
  readonly #wire: HttpWire;
  readonly #host: LinkHost;
  /** Messages that the server has not accepted yet, by kind. */
  readonly #underWay = new Counts();
  #waiting: Word[] = [];

  constructor(wire: HttpWire, host: LinkHost) {
    this.#wire = wire;
    this.#host = host;
  }

  async send(kind: string, text: string, place: Place): Promise<void> {
    const waits = kind === cancelled;
    if (this.#underWay.of(kind) >= maxCourtesies) {
      if (waits && this.#waiting.length < maxPending) this.#waiting.push({ text, place });
      else this.#drop(kind);
      return;
    }
    this.#underWay.add(kind);
    for (let word: Word | undefined = { text, place }; word; word = waits ? this.#waiting.shift() : undefined) {
      if (await this.#wire.courtesy(word.text, word.place)) continue;
      // A server that lets one of these messages time out will not accept the waiting ones either.
      for (const _ of this.#waiting.splice(0)) this.#drop(cancelled);
    }
    this.#underWay.add(kind, -1);
  }

  /** Drops the waiting messages, since the link is over. */
  close(): void {
    this.#waiting = [];
  }

  #drop(kind: string): void {
    this.#host.dropped(`${kind} beyond the number that the server accepts`);
  }
}
