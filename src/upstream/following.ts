import type { IdentifiedCall } from "../core/call.ts";
import type { Followed, TaskWatch } from "../core/ports.ts";
import { faults } from "./faults.ts";
import type { Terms } from "./host.ts";
import type { CallerInstances } from "./caller-instances.ts";
import { beginListen, type Listening } from "./link/listen.ts";

/** The maximum number of listening requests for tasks at one server; each takes up a connection to it. */
const maxTaskFollowers = 512;

/** The tasks that callers follow at one server. Tasks are private, so each caller has its own listening request. */
export class Following {
  readonly #terms: Terms;
  readonly #instances: CallerInstances;
  /** The number of open listening requests. */
  streams = 0;

  constructor(terms: Terms, instances: CallerInstances) {
    this.#terms = terms;
    this.#instances = instances;
  }

  /**
   * Asks the caller's instance to announce changes of tasks, and waits until it agrees. Throws `upstream-down` if it
   * agrees for none of the tasks, or not in time, or not before the caller leaves.
   */
  async begin(call: IdentifiedCall, watch: TaskWatch): Promise<Followed> {
    const { pool } = this.#instances;
    const slot = await this.#instances.started(call);
    const { id: server, timeout } = this.#terms.options;
    const instance = await slot.starting;
    const silent = faults.down(server, "it does not send task notifications");
    if (instance.peer.era === "legacy") throw silent;
    if (this.streams >= maxTaskFollowers) throw faults.full(server, `${maxTaskFollowers} callers already follow tasks`);
    this.streams++;
    pool.use(slot);
    const release = (): void => {
      this.streams--;
      pool.release(slot);
    };
    const listening: Listening = {
      instance,
      declares: call.capabilities.value,
      filter: { taskIds: watch.taskIds },
      missed: () => watch.lost(),
      heard(method, params) {
        if (method === "notifications/tasks") watch.changed(params);
      },
    };
    const begun = beginListen(listening, timeout, silent, call.controller.signal);
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
