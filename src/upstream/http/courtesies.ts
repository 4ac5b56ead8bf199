import { Counts } from "../../core/counts.ts";
import type { LinkHost, Peer } from "../link/link.ts";
import { type HttpWire, mostCourtesies } from "./wire.ts";

export const cancelled = "notifications/cancelled";
/** Most words of cancelled calls that wait: as many as there are calls in flight to one instance. */
const mostWaiting = 1_024;

type Word = { readonly text: string; readonly peer: Peer };

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

  /** How many of this kind are under way. */
  of(kind: string): number {
    return this.#underWay.of(kind);
  }

  async send(kind: string, text: string, peer: Peer): Promise<void> {
    if (this.of(kind) >= mostCourtesies) return this.#keep(kind, { text, peer });
    this.#underWay.add(kind);
    for (let word: Word | undefined = { text, peer }; word; word = this.#next(kind)) {
      if (!(await this.#wire.courtesy(word.text, word.peer))) this.#giveUp();
    }
    this.#underWay.add(kind, -1);
  }

  /** Forgets what waits: the link is over. */
  close(): void {
    this.#waiting = [];
  }

  #keep(kind: string, word: Word): void {
    if (kind === cancelled && this.#waiting.length < mostWaiting) this.#waiting.push(word);
    else this.#drop(kind);
  }

  #next(kind: string): Word | undefined {
    return kind === cancelled ? this.#waiting.shift() : undefined;
  }

  /** A server that lets one of these messages run into its time-out takes none of those that wait either. */
  #giveUp(): void {
    for (const _ of this.#waiting.splice(0)) this.#drop(cancelled);
  }

  #drop(kind: string): void {
    this.#host.dropped(`${kind} beyond those that the server takes`);
  }
}
