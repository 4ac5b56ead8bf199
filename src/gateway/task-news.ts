import type { IdentifiedCall, Route, RoutedCall } from "../core/call.ts";
import { causeOf } from "../core/failure.ts";
import { locatePresent, stringValue } from "../mcp/json-text.ts";
import { withoutOwnKeys } from "../mcp/meta.ts";
import type { Gateway } from "./gateway.ts";
import { result } from "./own-answers.ts";
import { judgeTask, type Task, withHandle } from "./tasks.ts";

type Watched = { readonly handle: string; readonly route: Route };

/** Maximum number of task states that wait to be sent in order, and of their characters; more end the listening. */
const maxQueuedStates = { states: 1_000, characters: 32 * 1024 ** 2 };

type Client = {
  /** Sends the state of a task (raw JSON) to the client. */
  tell(state: string): void;
  end(): void;
  hasLeft(): boolean;
};

/** Passes on the states of the tasks that one client listens to, in the order in which they came. */
export class TaskNotifications {
  readonly #gw: Gateway;
  readonly #call: IdentifiedCall;
  readonly #client: Client;
  /** Resolves when all states that came have been sent; recording a question takes time. */
  #told = Promise.resolve();
  readonly #untold = { states: 0, characters: 0 };
  /** The handles of tasks whose outcome was sent. It is final, and a server that repeats it must not fill the log. */
  readonly #over = new Set<string>();

  constructor(gw: Gateway, call: IdentifiedCall, client: Client) {
    this.#gw = gw;
    this.#call = call;
    this.#client = client;
  }

  /** Follows tasks of a server; resolves with the handles that it granted, and a function that stops following. */
  async follow(server: string, tasks: Iterable<readonly [handle: string, task: Task]>) {
    const watched = new Map<string, Watched>();
    for (const [handle, { taskId, route }] of tasks) watched.set(taskId, { handle, route });
    const { taskIds, end } = await this.#gw.upstreams.followTasks(this.#call, {
      server,
      taskIds: [...watched.keys()],
      changed: (task) => this.#hear(task, () => this.#noticed(server, task, watched)),
      lost: () => this.#client.end(),
    });
    return { names: [...watched].flatMap(([taskId, { handle }]) => (taskIds.has(taskId) ? [handle] : [])), end };
  }

  /** Queues the state of a task to be sent in order; a state may have any length if no other waits. */
  #hear({ length }: string, tell: () => Promise<void>): void {
    const untold = this.#untold;
    const tooMuch = untold.states > 0 && untold.characters + length > maxQueuedStates.characters;
    if (untold.states === maxQueuedStates.states || tooMuch) return this.#client.end();
    untold.states++;
    untold.characters += length;
    this.#told = this.#told.then(tell).finally(() => {
      untold.states--;
      untold.characters -= length;
    });
  }

  /**
   * Sends the client the state of a task under the client's handle, unless its tool or a question in it is not allowed.
   * The outcome of a task is recorded first, as if the client had requested it.
   */
  async #noticed(server: string, task: string, watched: ReadonlyMap<string, Watched>): Promise<void> {
    try {
      const { handle, route } = watched.get(stringValue(task, 0, "taskId") ?? "") ?? {};
      if (!handle || !route || this.#client.hasLeft() || this.#over.has(handle)) return;
      const gw = this.#gw.inForce();
      if (!judgeTask(gw, this.#call, route).allowed) return;
      const call = this.#callAbout(route);
      const linked = gw.catalog.outgoing(route, withoutOwnKeys(task), call.who);
      const state = await withHandle(gw, call, linked, JSON.stringify(handle));
      if (locatePresent(state, 0, "result") ?? locatePresent(state, 0, "error")) {
        call.reply = result(state, "modern");
        await gw.audit.end(call);
        this.#over.add(handle);
      }
      this.#client.tell(state);
    } catch (error) {
      this.#gw.log.warn("the state of a task could not be passed on", { server, cause: causeOf(error) });
    }
  }

  /** Returns the listening call as it is recorded for the state of a task of this tool. */
  #callAbout(route: Route): RoutedCall {
    const call = this.#call.detached(this.#call.controller, () => {});
    return Object.assign(call, { route, begun: true, recordedOnce: false });
  }
}
