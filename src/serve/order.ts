type Send = (message: string, must: boolean) => void;
/** A message to the client: null while it is an answer that is still to come, empty where none comes. */
type Slot = { text: string | null; readonly must: boolean };

/** A message of the client. */
export type Turn = {
  /** Its server has answered it: what is said from now on comes after the answer. */
  answered(): void;
  /** Sends the answer; null if there is none. */
  end(answer: string | null): void;
};

/** Most messages, and characters of them, that wait for an answer. */
const most = { messages: 256, characters: 1024 ** 2 };

/**
 * What goes to a client that has one connection, in the order in which its servers said it. An answer is sent when its
 * record is written; what was said after it waits for it, but not where too much would wait.
 */
export class Order {
  readonly #send: Send;
  #waiting: Slot[] = [];

  /** `send` as in `ConnectionOptions`. */
  constructor(send: Send) {
    this.#send = send;
  }

  say(text: string, must: boolean): void {
    if (this.#waiting.length === 0) return this.#send(text, must);
    this.#waiting.push({ text, must });
    const characters = this.#waiting.reduce((sum, one) => sum + (one.text?.length ?? 0), 0);
    if (this.#waiting.length > most.messages || characters > most.characters) this.#release(this.#waiting.length);
  }

  turn(): Turn {
    let slot: Slot | null = null;
    let over = false;
    return {
      answered: () => {
        if (!over && !slot) this.#waiting.push((slot = { text: null, must: true }));
      },
      end: (answer) => {
        over = true;
        if (slot && this.#waiting.includes(slot)) {
          slot.text = answer ?? "";
          const next = this.#waiting.findIndex(({ text }) => text === null);
          this.#release(next < 0 ? this.#waiting.length : next);
        } else if (answer !== null) this.#send(answer, true);
      },
    };
  }

  /** Sends the first `count` of what waits, as far as it has come. */
  #release(count: number): void {
    for (const { text, must } of this.#waiting.splice(0, count)) if (text) this.#send(text, must);
  }
}
