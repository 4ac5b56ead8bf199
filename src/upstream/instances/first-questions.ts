import { sleep, within } from "../../core/wait.ts";
import type { AskClient, Instance } from "../link/link.ts";
import { query } from "../link/query.ts";

/** The maximum time that the first call waits, ms; half of the call timeout if that is less. */
const maxMs = 1_000;
/** A server looks up the roots on its disk before it uses them, and does not say when it is done; ms. */
const graceMs = 100;

/**
 * What a legacy server asks the client between the handshake and the first call. Servers ask for the roots as soon as
 * they are initialized; a call sent at once would run before they have them.
 */
export class FirstQuestions {
  readonly #asker: () => AskClient | null;
  readonly #open = new Set<Promise<unknown>>();
  #asked = false;
  /** Whether no client was listening when the server last asked. */
  unheard = false;

  /** `asker`: returns the current way to the client; null while no client is listening. */
  constructor(asker: () => AskClient | null) {
    this.#asker = asker;
  }

  /** Handles a question of the server: returns the way to the client; null if no client is listening. */
  hear(): AskClient | null {
    const ask = this.#asker();
    this.unheard = !ask;
    if (!ask) return null;
    return async (request, signal) => {
      this.#asked = true;
      const answer = ask(request, signal);
      this.#open.add(answer);
      try {
        return await answer;
      } finally {
        this.#open.delete(answer);
      }
    };
  }

  /** Resolves once the server has its answers or its time is over; to false if no client is listening. Never throws. */
  async settled({ link, peer }: Instance): Promise<boolean> {
    if (peer.era !== "legacy") return true;
    if (!this.#asker()) return false;
    const timeout = Math.min(maxMs, link.host.timeout() / 2);
    const roundTrip = () => query(link, { method: "ping", peer, timeout });
    const over = AbortSignal.timeout(timeout);
    const settle = async (): Promise<void> => {
      await link.listening?.();
      // The server's first questions arrive before its answer to the ping, even if that is an error.
      await roundTrip();
      if (!this.#asked) return;
      await Promise.allSettled(this.#open);
      await sleep(graceMs, over);
      // Takes longer if the server or the machine is busy.
      await roundTrip();
    };
    const settling = settle().catch(() => {});
    await within(settling, timeout, null, () => {});
    return !this.unheard;
  }
}
