import type { Call } from "../core/call.ts";
import type { Followed, TaskWatch } from "../core/ports.ts";
import { within } from "../core/wait.ts";
import { holdListen } from "./discovery/listen.ts";
import { faults } from "./faults.ts";
import type { Slot } from "./instances/pool.ts";
import type { LinkHost } from "./link/link.ts";

/** Listening requests for tasks at one server; each takes one of its connections. */
const mostFollowers = 512;

type FollowingHost = { readonly server: string; readonly client: LinkHost["client"] };

/** Tasks that callers follow at one server. Each caller has a listening request of its own: no task is anybody else's. */
export class Following {
  readonly #host: FollowingHost;
  #streams = 0;

  constructor(host: FollowingHost) {
    this.#host = host;
  }

  /** Listening requests that are open. */
  get streams(): number {
    return this.#streams;
  }

  /** Asks the server of a slot to tell of tasks, and waits for its answer at most `timeout` ms. Throws where it does not. */
  async begin({ capabilities }: Call, slot: Slot, watch: TaskWatch, timeout: number): Promise<Followed> {
    const { server } = this.#host;
    const instance = await slot.starting;
    const silent = faults.down(server, "it does not tell of tasks");
    if (instance.peer.era === "legacy") throw silent;
    if (this.#streams >= mostFollowers) throw faults.full(server, `${mostFollowers} callers follow tasks`);
    const listen = new AbortController();
    let begun = false;
    const { promise, resolve, reject } = Promise.withResolvers<ReadonlySet<string>>();
    this.#streams++;
    slot.followers++;
    void holdListen({
      instance,
      client: this.#host,
      declares: capabilities.value,
      filter: { taskIds: watch.taskIds },
      signal: listen.signal,
      acknowledged({ taskIds }, again) {
        begun = true;
        resolve(new Set(watch.taskIds).intersection(new Set<unknown>(Array.isArray(taskIds) ? taskIds : [])));
        // Tasks may have changed while nobody listened.
        if (again) watch.lost();
      },
      heard(method, params) {
        if (method === "notifications/tasks") watch.told(params);
      },
    }).then(() => {
      this.#streams--;
      slot.followers--;
      reject(silent);
      if (begun && !listen.signal.aborted) watch.lost();
    });
    const end = (): void => listen.abort();
    try {
      const taskIds = await within(promise, timeout, null, () => Promise.reject(silent));
      if (taskIds.size === 0) throw silent;
      return { taskIds, end };
    } catch (error) {
      end();
      throw error;
    }
  }
}
