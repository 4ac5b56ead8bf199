import { availableParallelism } from "node:os";
import { within } from "../../core/wait.ts";

const usual = {
  places: 2 * availableParallelism(),
  /** A start that takes longer waits for something else than a processor, such as a download, or hangs; ms. */
  longest: 5_000,
};

/** Starts of programs that nobody waits for: only so many at once, since one that loads takes a processor. */
export class StartQueue {
  readonly #waiting: (() => void)[] = [];
  readonly #longest: number;
  #places: number;

  constructor({ places, longest } = usual) {
    this.#places = places;
    this.#longest = longest;
  }

  /** Begins once there is a place; resolves or rejects as `start` does. */
  async add(start: () => Promise<void>): Promise<void> {
    if (this.#places > 0) this.#places--;
    else await new Promise<void>((resolve) => void this.#waiting.push(resolve));
    const started = start();
    const leave = (): void => this.#leave();
    void within(started, this.#longest, null, () => {}).then(leave, leave);
    return started;
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#places++;
  }
}
