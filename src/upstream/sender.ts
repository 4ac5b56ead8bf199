import type { Call, Reply, Route, RoutedCall } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { isAsSevere, type LogLevel } from "../core/inbound.ts";
import type { UpstreamRequest } from "../core/upstream.ts";
import { rpcCodes } from "../core/rpc-code.ts";
import { sleep } from "../core/wait.ts";
import type { CallerInstances } from "./caller-instances.ts";
import { reasonOf } from "./faults.ts";
import { replyOf, requestOf, wantedLevel } from "./forward.ts";
import type { Terms } from "./host.ts";
import type { Slot } from "./instances/pool.ts";
import type { Starter } from "./instances/starter.ts";
import type { Answer, Instance } from "./link/link.ts";
import { checkHealth } from "./link/handshake.ts";
import { query } from "./link/query.ts";
import type { OwnInstance } from "./own-instance.ts";
import { factsOf } from "./transports/index.ts";

/** Methods that change nothing, so they can be repeated if the connection was lost before the answer. */
const repeatable = new Set(["prompts/get", "resources/read", "completion/complete", "tasks/get"]);
/** How long a server may take to set its log level, ms; at most half of the call's remaining time. */
const levelMs = 5_000;

/** Reports whether the connection was lost, during the call or in the handshake that it waited for. */
const isLost = (error: unknown): boolean => error instanceof Failure && (error.code === "lost" || isLost(error.cause));

function mayRepeat(error: unknown, { controller }: Call, { method }: UpstreamRequest): boolean {
  return isLost(error) && repeatable.has(method) && !controller.signal.aborted;
}

/** Reports whether a server rejected a request because of its headers, before it began to run it. */
const refusesHeaders = (answer: Answer): boolean =>
  answer.kind === "error" && answer.code === rpcCodes.headerMismatch && !answer.begun;

/** Returns the failure of a request that changes nothing; the caller need not know whether the request ran. */
function readFailure(error: unknown): unknown {
  if (!(error instanceof Failure) || error.detail.ran !== "maybe") return error;
  const { ran: _, ...detail } = error.detail;
  return new Failure(error.code, error.said, detail);
}

/** Sends the calls for one server to its instances. */
export class Sender {
  readonly #terms: Terms;
  readonly #starter: Starter;
  readonly #own: OwnInstance;
  readonly #instances: CallerInstances;

  constructor(terms: Terms, starter: Starter, own: OwnInstance, instances: CallerInstances) {
    this.#terms = terms;
    this.#starter = starter;
    this.#own = own;
    this.#instances = instances;
  }

  // One function on purpose: each further async function would cost every call time.
  async send(call: RoutedCall, request: UpstreamRequest): Promise<Reply> {
    const { pool } = this.#instances;
    const deadline = performance.now() + this.#terms.options.timeout;
    let { route } = call;
    // Entered first, because a reload lets calls in flight finish on the server that they were meant for.
    pool.enter();
    try {
      for (let again = false; ; again = true) {
        // Awaits nothing that is already known: each await costs every call time.
        const learning = this.#instances.learn(call, deadline);
        if (learning) await learning;
        const slot = this.#instances.slotFor(call);
        pool.use(slot);
        try {
          const instance = slot.instance ?? (await this.#instances.waiting(slot, call, deadline, slot.starting));
          const prepare = (): Promise<void> | null => this.#prepare(slot, instance, call, deadline);
          const preparing = prepare();
          if (preparing) await preparing;
          const { options, host } = this.#terms;
          const waited = options.timeout - Math.max(1, deadline - performance.now());
          const target = { peer: instance.peer, spec: slot.spec, options, client: host.client, waited, prepare };
          const outbound = requestOf(call, route, request, target);
          const answer = await instance.link.request(outbound);
          if (again || outbound.headers === null || !refusesHeaders(answer)) {
            const reply = replyOf(answer, instance.peer, options.id, call);
            if (reply.kind === "result" && reply.type !== null) slot.owes = true;
            return reply;
          }
        } catch (error) {
          this.#noteFailure(error, slot);
          // The call did not run, and the next attempt uses an instance of the other era.
          const other = this.#starter.doubtLegacy(error);
          if (again || !(other || mayRepeat(error, call, request)))
            throw repeatable.has(request.method) ? readFailure(error) : error;
          if (!other) await this.#pauseBefore(slot, call, deadline);
          continue;
        } finally {
          pool.release(slot);
        }
        route = await this.#redefined(call, deadline);
      }
    } finally {
      pool.leave();
    }
  }

  /** Returns the route with the current tool after the server rejected the headers because the tool has changed. */
  async #redefined(call: RoutedCall, deadline: number): Promise<Route> {
    await this.#instances.within(call, deadline, this.#own.refresh());
    const { name, tool: old } = call.route;
    return { ...call.route, tool: old && (this.#own.inventory.tools.find((now) => now.name === name) ?? old) };
  }

  /** Checks the instance or the server after a failure that may be a sign of trouble. */
  #noteFailure(error: unknown, slot: Slot): void {
    if (!(error instanceof Failure)) return;
    if (error.code === "timeout") void this.#suspect(slot);
    if (error.code === "upstream-down") void this.#own.check();
  }

  /** Ends an instance that hangs: a call on it timed out, and it does not answer a ping either. */
  async #suspect(slot: Slot): Promise<void> {
    const { instance, suspected } = slot;
    // Over HTTP, one request that hangs says nothing about the others, except over HTTP+SSE.
    const alone = factsOf(this.#terms.options).perRequest && !this.#starter.spoken.sse;
    if (!instance || suspected || alone) return;
    slot.suspected = true;
    try {
      await checkHealth(instance, this.#terms.options.healthCheck);
    } catch (error) {
      instance.link.fail(`it no longer answers (${reasonOf(error)})`);
    }
    slot.suspected = false;
  }

  /** Waits until an instance that ended may be started again, if the call has enough time left. */
  async #pauseBefore({ spec: { key } }: Slot, call: Call, deadline: number): Promise<void> {
    const { pool } = this.#instances;
    const wait = pool.find(key) ? 0 : pool.wait(key);
    if (wait > 0 && wait < deadline - performance.now()) await sleep(wait, call.controller.signal);
  }

  /** Waits for the client's roots and the log level, unless an earlier request for the level timed out. */
  #prepare(slot: Slot, instance: Instance, call: Call, deadline: number): Promise<void> | null {
    const settling = this.#instances.settling(slot, instance);
    const level = this.#levelFor(slot, instance, call);
    const setting = level && this.#setLevel(slot, instance, level, deadline);
    const set = slot.levelLate ? null : setting;
    if (!settling && !set) return null;
    const ready = Promise.all([settling, set]).then(() => {});
    return this.#instances.waiting(slot, call, deadline, ready);
  }

  /**
   * Returns the log level to set on a legacy server before the call, if any. Other callers of the instance still get
   * only the messages that they wanted.
   */
  #levelFor(slot: Slot, { peer }: Instance, call: Call): LogLevel | null {
    const wanted = wantedLevel(call);
    if (peer.era === "modern" || wanted === null || wanted === "default") return null;
    if (slot.level !== null && isAsSevere(wanted, slot.level)) return null;
    return Object.hasOwn(this.#own.inventory.capabilities ?? {}, "logging") ? wanted : null;
  }

  async #setLevel(slot: Slot, { link, peer }: Instance, level: LogLevel, deadline: number): Promise<void> {
    slot.level = level;
    const params = { level };
    const timeout = Math.min(levelMs, (deadline - performance.now()) / 2);
    await query(link, { method: "logging/setLevel", peer, timeout, params }).catch((error: unknown) => {
      slot.level = null;
      slot.levelLate ||= error instanceof Failure && error.code === "timeout";
    });
  }
}
