import type { IdentifiedCall, Route, RoutedCall } from "../core/call.ts";
import { causeOf } from "../core/failure.ts";
import { locatePresent, stringValue } from "../mcp/json-text.ts";
import { withoutOwnKeys } from "../mcp/meta.ts";
import type { Gateway } from "./gateway.ts";
import { result } from "./own-answers.ts";
import { judgeTask, type Task, underHandle } from "./tasks.ts";

type Watched = { readonly handle: string; readonly route: Route };

/**
 * Most states of tasks that wait to be told in their order, and their characters; a server that tells more at once ends
 * the listening.
 */
const mostUntold = { states: 1_000, characters: 32 * 1024 ** 2 };

/** The client that listens. */
type Client = {
  /** Takes the state of a task, raw JSON. */
  tell(state: string): void;
  /** Ends the listening. */
  end(): void;
  hasLeft(): boolean;
};

/** What servers say of the tasks that one client listens to; it goes out in the order in which it came. */
export class TaskNews {
  readonly #gw: Gateway;
  readonly #call: IdentifiedCall;
  readonly #client: Client;
  /** Resolves when all that came is told: to record a question takes time. */
  #told = Promise.resolve();
  readonly #untold = { states: 0, characters: 0 };
  /**
   * The handles of tasks whose outcome was told. It changes no more, and a server that repeats it must not fill the
   * log.
   */
  readonly #over = new Set<string>();

  /** `call`: the request to listen. */
  constructor(gw: Gateway, call: IdentifiedCall, client: Client) {
    this.#gw = gw;
    this.#call = call;
    this.#client = client;
  }

  /** Follows tasks of a server; resolves with the handles that it granted, and the way to end it. */
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

  /** Has the state of a task told after those that came before; one alone may be of any length. */
  #hear({ length }: string, tell: () => Promise<void>): void {
    const untold = this.#untold;
    const tooMuch = untold.states > 0 && untold.characters + length > mostUntold.characters;
    if (untold.states === mostUntold.states || tooMuch) return this.#client.end();
    untold.states++;
    untold.characters += length;
    this.#told = this.#told.then(tell).finally(() => {
      untold.states--;
      untold.characters -= length;
    });
  }

  /**
   * Tells the client the state of a task, under the client's handle. Not if its tool is no longer allowed, nor if the
   * state asks a question that is not allowed. The outcome of a task is recorded first, as one that is asked for.
   */
  async #noticed(server: string, task: string, watched: ReadonlyMap<string, Watched>): Promise<void> {
    try {
      const { handle, route } = watched.get(stringValue(task, 0, "taskId") ?? "") ?? {};
      if (!handle || !route || this.#client.hasLeft() || this.#over.has(handle)) return;
      const gw = this.#gw.inForce();
      if (!judgeTask(gw, this.#call, route).allowed) return;
      const call = this.#callAbout(route);
      const linked = gw.catalog.outgoing(route, withoutOwnKeys(task), call.who);
      const state = await underHandle(gw, call, linked, JSON.stringify(handle));
      if (locatePresent(state, 0, "result") ?? locatePresent(state, 0, "error")) {
        call.reply = result(state, "modern");
        await gw.audit.end(call);
        this.#over.add(handle);
      }
      this.#client.tell(state);
    } catch (error) {
      this.#gw.log.warn("the state of a task was not passed on", { server, cause: causeOf(error) });
    }
  }

  /** The listening as it is recorded for what a server says of a task of this tool. */
  #callAbout(route: Route): RoutedCall {
    const call = this.#call.detached(this.#call.controller, () => {});
    return Object.assign(call, { route, begun: true, recordedOnce: false });
  }
}
