import type { Call } from "../core/call.ts";
import type { Followed, TaskWatch } from "../core/ports.ts";
import { faults } from "./faults.ts";
import type { Terms } from "./host.ts";
import type { Pool, Slot } from "./instances/pool.ts";
import { beginListen, type Listening } from "./link/listen.ts";

/** Most listening requests for tasks at one server; each takes one of the connections to it. */
const mostFollowers = 512;

/**
 * The tasks that callers follow at one server. Each caller has a listening request of its own, since its tasks are
 * nobody else's.
 */
export class Following {
  readonly #terms: Terms;
  readonly #pool: Pool;
  /** Listening requests that are open. */
  streams = 0;

  constructor(terms: Terms, pool: Pool) {
    this.#terms = terms;
    this.#pool = pool;
  }

  /**
   * Asks the server of a slot to announce changes of tasks, and waits until it agrees. Throws `upstream-down` if it
   * does not, for any of the tasks, or not before the caller leaves.
   */
  async begin({ capabilities, controller: { signal } }: Call, slot: Slot, watch: TaskWatch): Promise<Followed> {
    const { id: server, timeout } = this.#terms.options;
    const instance = await slot.starting;
    const silent = faults.down(server, "it does not tell of tasks");
    if (instance.peer.era === "legacy") throw silent;
    if (this.streams >= mostFollowers) throw faults.full(server, `${mostFollowers} callers follow tasks`);
    this.streams++;
    this.#pool.use(slot);
    const release = (): void => {
      this.streams--;
      this.#pool.release(slot);
    };
    const listening: Listening = {
      instance,
      declares: capabilities.value,
      filter: { taskIds: watch.taskIds },
      missed: () => watch.lost(),
      heard(method, params) {
        if (method === "notifications/tasks") watch.changed(params);
      },
    };
    const begun = beginListen(listening, timeout, silent, signal);
    const { honoured, listen, ended } = await begun.catch((error: unknown) => {
      release();
      throw error;
    });
    const end = (): void => listen.abort();
    void ended.then(() => {
      release();
      if (!listen.signal.aborted) watch.lost();
    });
    const granted = new Set<unknown>(Array.isArray(honoured.taskIds) ? honoured.taskIds : []);
    const taskIds = new Set(watch.taskIds).intersection(granted);
    if (taskIds.size > 0) return { taskIds, end };
    end();
    throw silent;
  }
}
