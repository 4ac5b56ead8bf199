import { Counts } from "../../core/counts.ts";
import type { LinkHost } from "../link/link.ts";
import { type HttpWire, mostCourtesies, type Place } from "./wire.ts";

const cancelled = "notifications/cancelled";
/** Most words of cancelled calls that wait: as many as there are calls in flight to one instance. */
const mostWaiting = 1_024;

type Word = { readonly text: string; readonly place: Place };

/**
 * Messages that need no answer, so many of each kind under way at once. Beyond those, words of cancelled calls wait
 * their turn, since each spares the server work and is short; what is of another kind is dropped.
 */
export class Courtesies {
  readonly #wire: HttpWire;
  readonly #host: LinkHost;
  /** Those that the server has not taken yet, by kind. */
  readonly #underWay = new Counts();
  #waiting: Word[] = [];

  constructor(wire: HttpWire, host: LinkHost) {
    this.#wire = wire;
    this.#host = host;
  }

  async send(kind: string, text: string, place: Place): Promise<void> {
    const waits = kind === cancelled;
    if (this.#underWay.of(kind) >= mostCourtesies) {
      if (waits && this.#waiting.length < mostWaiting) this.#waiting.push({ text, place });
      else this.#drop(kind);
      return;
    }
    this.#underWay.add(kind);
    for (let word: Word | undefined = { text, place }; word; word = waits ? this.#waiting.shift() : undefined) {
      if (await this.#wire.courtesy(word.text, word.place)) continue;
      // A server that lets one of these messages run into its time-out takes none of those that wait either.
      for (const _ of this.#waiting.splice(0)) this.#drop(cancelled);
    }
    this.#underWay.add(kind, -1);
  }

  /** Forgets what waits: the link is over. */
  close(): void {
    this.#waiting = [];
  }

  #drop(kind: string): void {
    this.#host.dropped(`${kind} beyond those that the server takes`);
  }
}
