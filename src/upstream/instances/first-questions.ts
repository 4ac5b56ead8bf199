import { sleep, within } from "../../core/wait.ts";
import type { AskClient, Instance } from "../link/link.ts";
import { query } from "../link/query.ts";

/** Most milliseconds that the first call waits, and less where a call may take less. */
const mostMs = 1_000;
/** A server looks for the roots on its disk before it puts them to use, and nothing says when it has; milliseconds. */
const graceMs = 100;

/**
 * What a legacy server asks the client between the handshake and the first call. Servers ask for the roots as soon as
 * they are initialized; a call that is sent at once would run before they have them.
 */
export class FirstQuestions {
  readonly #asker: () => AskClient | null;
  readonly #open = new Set<Promise<unknown>>();
  #asked = false;
  /** Whether no client listened when the server last asked. */
  unheard = false;

  /** `asker`: the present way to the client; null while none listens. */
  constructor(asker: () => AskClient | null) {
    this.#asker = asker;
  }

  /** The server asks: the way to the client; null where none listens. */
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

  /**
   * Resolves once the server has asked and has the answers, or has had its time for that; to false where no client
   * listens. Never throws.
   */
  async settled({ link, peer }: Instance): Promise<boolean> {
    if (peer.era !== "legacy") return true;
    if (!this.#asker()) return false;
    const timeout = Math.min(mostMs, link.host.timeout() / 2);
    const roundTrip = () => query(link, { method: "ping", peer, timeout });
    const over = AbortSignal.timeout(timeout);
    const settle = async (): Promise<void> => {
      await link.listening?.();
      // What the server asks at once comes before its answer, an error included.
      await roundTrip();
      if (!this.#asked) return;
      await Promise.allSettled(this.#open);
      await sleep(graceMs, over);
      // Takes longer where the server or the machine is busy.
      await roundTrip();
    };
    const settling = settle().catch(() => {});
    await within(settling, timeout, null, () => {});
    return !this.unheard;
  }
}
