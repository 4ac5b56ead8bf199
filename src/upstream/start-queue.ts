import { availableParallelism } from "node:os";
import { within } from "../core/wait.ts";

type Bounds = {
  readonly places: number;
  /** How long a start keeps its place, ms; null: until it has ended. */
  readonly longest: number | null;
};

/** For programs: while one loads, it uses a processor; later it waits, for example for a download, or hangs. */
const usual: Bounds = { places: 2 * availableParallelism(), longest: 5_000 };

/** Limits how many starts run at once. */
export class StartQueue {
  readonly #waiting: (() => void)[] = [];
  readonly #longest: number | null;
  #places: number;

  constructor({ places, longest }: Bounds = usual) {
    this.#places = places;
    this.#longest = longest;
  }

  /** Begins `start` once there is a place; resolves or rejects as `start` does. */
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
