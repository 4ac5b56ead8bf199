import type { Call, Reply, Route } from "../core/call.ts";
import { asFailure, Failure } from "../core/failure.ts";
import { changedKey, listGroups } from "../core/lists.ts";
import type { Notice, Wants } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import { subscribed, subscriptionMeta } from "../mcp/subscription.ts";
import { isObject } from "../mcp/message.ts";
import { result } from "./answers.ts";
import type { Gateway } from "./gateway.ts";
import { admitTaskNotice, needTasks, openTask, textAt } from "./tasks.ts";
import { updateFor } from "./updates.ts";

/** What a client asks to be told of. */
type Filter = { readonly lists: Wants["lists"]; readonly uris: readonly string[]; readonly taskIds: readonly string[] };
type Tell = (method: string, params: string | null) => void;

/**
 * Serves `subscriptions/listen` for as long as its client wants: says first what of it is granted, then only that. Ends
 * with a result when the gateway stops or what was listened to is gone, without one when the client leaves.
 */
export async function listen(gw: Gateway, call: Call, who: Principal): Promise<Reply> {
  const { emit, inbound } = call;
  if (!emit) throw new Failure("invalid-request", "Listening needs a connection that can carry a stream.");
  const filter = readFilter(inbound.params.notifications);
  if (filter.taskIds.length > 0) needTasks(call);
  gw.limits.take(call, who, null);
  if (filter.uris.some((uri) => !gw.catalog.offers("resource", uri, call.scope, who))) await gw.booted;
  const routes = routesOf(gw, call, who, filter.uris);
  const tasks = tasksOf(gw, call, who, filter.taskIds);
  const id = inbound.idText ?? "null";
  const listener = new Listener(gw, call, who, (method, params) => emit(subscribed(method, params, id)));
  const servers = new Set([...routes.values(), ...tasks.values()].map(({ server }) => server));
  try {
    listener.enter(servers, tasks.size > 0, routes.size);
    listener.follow(filter.lists, tasks);
    await gw.audit.once(call, factsOf(filter, routes.size, tasks.size));
    const granted = await listener.subscribe(routes);
    listener.acknowledge(ackOf(filter.lists, granted, [...tasks.keys()]));
    await listener.ended;
  } finally {
    listener.leave();
  }
  return result(`{"resultType":"complete","_meta":${subscriptionMeta(id, gw.identity)}}`, "modern");
}

function readFilter(notifications: unknown): Filter {
  if (!isObject(notifications)) throw new Failure("invalid-params", '"params.notifications" is not an object.');
  const strings = (name: string): string[] => {
    const value = notifications[name] ?? [];
    if (Array.isArray(value) && value.every((each) => typeof each === "string")) return [...new Set<string>(value)];
    throw new Failure("invalid-params", `"params.notifications.${name}" is not a list of strings.`);
  };
  return {
    lists: new Set(listGroups.filter((list) => notifications[changedKey(list)] === true)),
    uris: strings("resourceSubscriptions"),
    taskIds: strings("taskIds"),
  };
}

/**
 * The routes of those resources that the caller may read and has a token left for, since each is a request to a server;
 * by URI on the wire. The others are passed over: the acknowledgement names what is granted.
 */
function routesOf(gw: Gateway, call: Call, who: Principal, uris: readonly string[]): Map<string, Route> {
  const routes = new Map<string, Route>();
  for (const uri of uris) {
    try {
      const route = gw.catalog.resolve(call, who, "resource", uri);
      gw.policy.decide(call, who, route);
      gw.limits.take(call, who, route);
      routes.set(uri, route);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    }
  }
  // The request as a whole is about no single resource.
  call.target = call.verdict = null;
  return routes;
}

type Watched = { readonly server: string; readonly taskId: string };

/** The caller's own tasks among the handles, by handle. */
function tasksOf(gw: Gateway, call: Call, who: Principal, handles: readonly string[]): Map<string, Watched> {
  const tasks = new Map<string, Watched>();
  for (const handle of handles) {
    const task = openTask(gw, call, who, handle);
    if (task) tasks.set(handle, task);
  }
  return tasks;
}

const factsOf = (filter: Filter, resources: number, tasks: number) => ({
  opens: "subscription",
  lists: [...filter.lists].join(" "),
  resources,
  tasks,
});

function ackOf(wanted: Wants["lists"], uris: readonly string[], taskIds: readonly string[]): string {
  const granted: Record<string, unknown> = {};
  for (const list of wanted) granted[changedKey(list)] = true;
  if (uris.length > 0) granted.resourceSubscriptions = uris;
  if (taskIds.length > 0) granted.taskIds = taskIds;
  return JSON.stringify({ notifications: granted });
}

/** One client that listens: what it takes part in, and the way out of all of it. */
class Listener {
  readonly #gw: Gateway;
  readonly #call: Call;
  readonly #who: Principal;
  readonly #send: Tell;
  readonly #exits: (() => void)[] = [];
  readonly #end = Promise.withResolvers<void>();
  /** What came before the acknowledgement, which has to be first; null after it. */
  #early: [method: string, params: string | null][] | null = [];
  #left = false;

  constructor(gw: Gateway, call: Call, who: Principal, send: Tell) {
    this.#gw = gw;
    this.#call = call;
    this.#who = who;
    this.#send = send;
  }

  /** Resolves when it is ended in order; throws `cancelled` when its client leaves or loses its key. */
  get ended(): Promise<void> {
    return this.#end.promise;
  }

  enter(servers: ReadonlySet<string>, tasks: boolean, uris: number): void {
    const { controller, scope } = this.#call;
    const owner = this.#who.id;
    this.#exits.push(this.#gw.listeners.open({ owner, scope, servers, tasks, end: () => this.#end.resolve() }));
    this.#exits.push(this.#gw.listeners.take(owner, uris));
    const gone = (): void => this.#end.reject(new Failure("cancelled", "The client listens no more."));
    // The client may leave while it is still being subscribed, before anything awaits this promise.
    this.#end.promise.catch(() => {});
    controller.signal.addEventListener("abort", gone, { once: true });
    if (controller.signal.aborted) gone();
  }

  follow(wanted: Wants["lists"], tasks: ReadonlyMap<string, Watched>): void {
    const { notifier, upstreams } = this.#gw;
    const { source, scope } = this.#call;
    if (wanted.size > 0) {
      const tell: Tell = (method, params) => this.#tell(method, params);
      this.#exits.push(notifier.join(this.#who, source, { lists: wanted, scope }, tell));
    }
    if (tasks.size === 0) return;
    const handles = new Map([...tasks].map(([handle, task]) => [keyOf(task.server, task.taskId), handle]));
    this.#exits.push(upstreams.onNotice((notice) => void this.#noticed(notice, handles)));
  }

  /** Subscribes to the resources; resolves with those that their servers granted. */
  async subscribe(routes: ReadonlyMap<string, Route>): Promise<string[]> {
    const { upstreams, log } = this.#gw;
    const one = async ([uri, route]: [string, Route]): Promise<string | null> => {
      try {
        const end = await upstreams.subscribe(this.#call, this.#who, route, (params) =>
          this.#updated(uri, route, params),
        );
        if (this.#left) end();
        else this.#exits.push(end);
        return uri;
      } catch (error) {
        log.warn("a resource cannot be subscribed to", { server: route.server, cause: asFailure(error).message });
        return null;
      }
    };
    const granted = await Promise.all([...routes].map(one));
    return granted.filter((uri) => uri !== null);
  }

  acknowledge(params: string): void {
    const early = this.#early ?? [];
    this.#early = null;
    this.#send("notifications/subscriptions/acknowledged", params);
    for (const [method, said] of early) this.#send(method, said);
  }

  leave(): void {
    this.#left = true;
    for (const exit of this.#exits.splice(0)) exit();
  }

  #tell(method: string, params: string | null): void {
    if (this.#left) return;
    if (!this.#early) this.#send(method, params);
    else if (!this.#early.some(([said, of]) => said === method && of === params)) this.#early.push([method, params]);
  }

  #updated(uri: string, route: Route, params: string | null): void {
    const told = updateFor(this.#gw, { call: this.#call, who: this.#who, route, uri }, params);
    if (told !== null) this.#tell("notifications/resources/updated", told);
  }

  /** The state of a task: under its owner's handle, and only where nothing is asked that may not be. */
  async #noticed({ server, method, params, owner }: Notice, handles: ReadonlyMap<string, string>): Promise<void> {
    if (method !== "notifications/tasks" || (owner !== null && owner !== this.#who.id)) return;
    try {
      const handle = handles.get(keyOf(server, textAt(params, "taskId") ?? ""));
      if (handle === undefined) return;
      const job = { gw: this.#gw, call: this.#call, who: this.#who, server };
      this.#tell(method, await admitTaskNotice(job, params, handle));
    } catch (error) {
      this.#gw.log.warn("the state of a task was not passed on", { server, cause: asFailure(error).message });
    }
  }
}

const keyOf = (server: string, taskId: string): string => `${server}\n${taskId}`;
