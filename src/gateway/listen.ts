import type { IdentifiedCall, Reply, Route } from "../core/call.ts";
import { onAbort } from "../core/cancel.ts";
import { causeOf, Failure } from "../core/failure.ts";
import { isObject } from "../core/json.ts";
import { changedKey, listGroups, mustDeliver } from "../core/lists.ts";
import type { Listener } from "../core/ports.ts";
import { inTurns } from "../core/turns.ts";
import { subscribed, subscriptionMeta } from "../mcp/subscription.ts";
import { requireNotCancelled, result } from "./own-answers.ts";
import { listenLimits } from "./listeners.ts";
import { type Gateway, requireEndpoint, whenSettled } from "./gateway.ts";
import { TaskNotifications } from "./task-news.ts";
import { judgeTask, needTasks, openTask, type Task } from "./tasks.ts";
import { updateFor } from "./updates.ts";

type Filter = Pick<Listener, "lists"> & { readonly uris: readonly string[]; readonly taskIds: readonly string[] };
/** Maximum number of resources, and of tasks, in one request; no principal may listen to more resources. */
const maxNamed = listenLimits.uris;
const acknowledged = "notifications/subscriptions/acknowledged";
type Tell = Listener["send"];

/**
 * Serves `subscriptions/listen` until the client leaves: acknowledges what is granted, and then sends notifications
 * about only that. Ends with a result if the gateway stops or no longer serves something listened to.
 */
export async function listen(gw: Gateway, call: IdentifiedCall): Promise<Reply> {
  const { emit, inbound, who } = call;
  if (!emit) throw new Failure("invalid-request", "Listening needs a connection that can carry a stream.");
  const filter = readFilter(inbound.params.notifications);
  if (filter.taskIds.length > 0) needTasks(call);
  gw.limits.take(who, null);
  if (!(await inTurns(areOffered(gw, call, filter.uris)))) gw = await whenSettled(gw, call);
  requireNotCancelled(call);
  const chosen = await choose(gw, call, filter);
  const { routes, tasks } = chosen;
  gw = chosen.gw;
  requireEndpoint(gw, call);
  const id = inbound.idText ?? "null";
  using listening = new Listening(gw, call, (method, params) =>
    emit(subscribed(method, params, id), method === acknowledged || mustDeliver(method)),
  );
  const toTasks = [...tasks.values()].map(({ route }) => route);
  const servers = new Set([...routes.values(), ...toTasks].map(({ server }) => server));
  listening.enter(servers, tasks.size > 0, routes.size);
  listening.join(filter.lists);
  await gw.audit.once(call, factsOf(filter, routes.size, tasks.size));
  const [uris, handles] = await Promise.all([listening.subscribe(routes), listening.follow(tasks)]);
  // A client that left or lost its rights does not get the notifications that came in the meantime.
  if (!call.controller.signal.aborted) listening.acknowledge(ackOf(filter.lists, uris, handles));
  await listening.ended;
  return result(`{"resultType":"complete","_meta":${subscriptionMeta(id, gw.identity)}}`, "modern");
}

function readFilter(notifications: unknown): Filter {
  if (!isObject(notifications)) throw new Failure("invalid-params", '"params.notifications" is not an object.');
  const strings = (name: string): string[] => {
    const value = notifications[name] ?? [];
    if (Array.isArray(value) && value.every((each) => typeof each === "string")) {
      if (value.length <= maxNamed) return [...new Set<string>(value)];
      throw new Failure("invalid-params", `"params.notifications.${name}" names more than ${maxNamed}; request fewer.`);
    }
    throw new Failure("invalid-params", `"params.notifications.${name}" is not a list of strings.`);
  };
  return {
    lists: new Set(listGroups.filter((list) => notifications[changedKey(list)] === true)),
    uris: strings("resourceSubscriptions"),
    taskIds: strings("taskIds"),
  };
}

/** Reports whether all of these resources are known. */
function* areOffered({ catalog }: Gateway, call: IdentifiedCall, uris: readonly string[]): Generator<void, boolean> {
  for (const uri of uris) {
    if (!catalog.offers("resource", uri, call.scope, call)) return false;
    yield;
  }
  return true;
}

/** Returns the requested resources and tasks that the caller may listen to, as one current gateway decides them all. */
async function choose({ inForce }: Gateway, call: IdentifiedCall, { uris, taskIds }: Filter) {
  for (let gw = inForce(); ; gw = inForce()) {
    const routes = await inTurns(routesOf(gw, call, uris));
    const tasks = await inTurns(tasksOf(gw, call, taskIds));
    // Decided again if there was a reload in between.
    if (gw === inForce()) return { gw, routes, tasks };
  }
}

/**
 * Returns the resources that the caller may read, by wire URI. Each subscription is a request to a server and takes a
 * token. Other URIs are skipped, because the acknowledgement lists what is granted.
 */
function* routesOf(gw: Gateway, call: IdentifiedCall, uris: readonly string[]): Generator<void, Map<string, Route>> {
  const { who } = call;
  const routes = new Map<string, Route>();
  for (const uri of uris) {
    try {
      const route = gw.catalog.resolve(call, "resource", uri);
      gw.policy.decide(call, who, route);
      gw.limits.take(who, route);
      routes.set(uri, route);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    }
    yield;
  }
  // The record of the request must not name one of several resources.
  call.target = call.verdict = null;
  return routes;
}

/** Returns the caller's tasks, by handle; other handles are skipped. */
function* tasksOf(gw: Gateway, call: IdentifiedCall, handles: readonly string[]): Generator<void, Map<string, Task>> {
  const tasks = new Map<string, Task>();
  for (const handle of handles) {
    const task = openTask(gw, call, handle);
    if (task && judgeTask(gw, call, task.route).allowed) tasks.set(handle, task);
    yield;
  }
  return tasks;
}

const factsOf = (filter: Filter, resources: number, tasks: number) => ({
  opens: "subscription",
  lists: [...filter.lists].join(" "),
  resources,
  tasks,
});

function ackOf(wanted: Listener["lists"], uris: readonly string[], taskIds: readonly string[]): string {
  const granted: Record<string, unknown> = {};
  for (const list of wanted) granted[changedKey(list)] = true;
  if (uris.length > 0) granted.resourceSubscriptions = uris;
  if (taskIds.length > 0) granted.taskIds = taskIds;
  return JSON.stringify({ notifications: granted });
}

/** Maximum characters of notifications kept before the acknowledgement, and the minimum that each counts as. */
const maxEarly = { all: 8 * 1024 ** 2, each: 4 * 1024 };

/** A listening client, with everything that has to be undone when it leaves. */
class Listening implements Disposable {
  readonly #gw: Gateway;
  readonly #call: IdentifiedCall;
  readonly #send: Tell;
  readonly #exits = new DisposableStack();
  readonly #end = Promise.withResolvers<void>();
  /** Notifications that came before the acknowledgement, which must be sent first; null after it. */
  #early: [method: string, params: string | null][] | null = [];
  #earlyLength = 0;
  readonly #news: TaskNotifications;

  constructor(gw: Gateway, call: IdentifiedCall, send: Tell) {
    this.#gw = gw;
    this.#call = call;
    this.#send = send;
    this.#news = new TaskNotifications(gw, call, {
      tell: (state) => this.#tell("notifications/tasks", state),
      end: () => this.#end.resolve(),
      hasLeft: () => this.#exits.disposed,
    });
  }

  /** Resolves when the gateway ends it; rejects with `cancelled` when the client leaves or loses its key. */
  get ended(): Promise<void> {
    return this.#end.promise;
  }

  enter(servers: ReadonlySet<string>, tasks: boolean, uris: number): void {
    const { controller, scope, inbound, who } = this.#call;
    const owner = who.id;
    this.#exits.defer(this.#gw.listeners.open({ owner, scope, servers, tasks, end: () => this.#end.resolve() }));
    this.#exits.defer(this.#gw.listeners.take(owner, uris, inbound.text.length));
    const gone = (): void => this.#end.reject(new Failure("cancelled", "The client stopped listening."));
    // The client may leave before anything awaits this promise.
    this.#end.promise.catch(() => {});
    onAbort(controller.signal, gone);
  }

  join(wanted: Listener["lists"]): void {
    if (wanted.size === 0) return;
    const { who, source, scope, capabilities } = this.#call;
    const send: Tell = (method, params) => this.#tell(method, params);
    this.#exits.defer(this.#gw.notifier.join({ who, source, scope, capabilities, lists: wanted, send }));
  }

  /** Subscribes to the resources; resolves with the URIs that their servers granted. */
  async subscribe(routes: ReadonlyMap<string, Route>): Promise<string[]> {
    const granted = [...routes].map(([uri, route]) =>
      this.#granted(route.server, async () => {
        // The current upstreams, because a reload in between stops the old servers.
        const { upstreams } = this.#gw.inForce();
        const end = await upstreams.subscribe(this.#call, route, (params) => this.#updated(uri, route, params));
        return { names: [uri], end };
      }),
    );
    return (await Promise.all(granted)).flat();
  }

  /** Follows the tasks at their servers; resolves with the handles that the servers granted. */
  async follow(tasks: ReadonlyMap<string, Task>): Promise<string[]> {
    const byServer = Map.groupBy(tasks, ([, { route }]) => route.server);
    const granted = [...byServer].map(([server, own]) => this.#granted(server, () => this.#news.follow(server, own)));
    return (await Promise.all(granted)).flat();
  }

  /** Resolves with the names of what a server grants; none if it refuses. */
  async #granted(server: string, ask: () => Promise<{ names: string[]; end: () => void }>): Promise<string[]> {
    try {
      const { names, end } = await ask();
      this.#exits.defer(end);
      return names;
    } catch (error) {
      if (!this.#call.controller.signal.aborted)
        this.#gw.log.warn("a client cannot listen to what it requested", { server, cause: causeOf(error) });
      return [];
    }
  }

  acknowledge(params: string): void {
    const early = this.#early ?? [];
    this.#early = null;
    this.#send(acknowledged, params);
    for (const [method, said] of early) this.#send(method, said);
  }

  [Symbol.dispose](): void {
    this.#exits.dispose();
  }

  #tell(method: string, params: string | null): void {
    if (this.#exits.disposed) return;
    if (!this.#early) return this.#send(method, params);
    if (this.#early.some(([said, of]) => said === method && of === params)) return;
    this.#earlyLength += Math.max(maxEarly.each, params?.length ?? 0);
    if (this.#earlyLength > maxEarly.all) this.#end.resolve();
    else this.#early.push([method, params]);
  }

  #updated(uri: string, route: Route, params: string | null): void {
    const { who, source, scope } = this.#call;
    const update = updateFor(this.#gw.inForce, { who, source, scope, route, uri }, params);
    if (update !== null) this.#tell("notifications/resources/updated", update);
  }
}
