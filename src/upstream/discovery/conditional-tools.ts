import type { Tool } from "../../core/call.ts";
import { type ClientCapabilities, clientKind } from "../../core/inbound.ts";
import { inTurns } from "../../core/turns.ts";
import { type Breaker, createBreaker } from "../breaker.ts";
import { reasonOf } from "../faults.ts";
import type { Terms } from "../host.ts";
import { type Drained, drainList, readTools } from "./listing.ts";
import type { Instance } from "../link/link.ts";
import type { Starter } from "../instances/starter.ts";

type ConditionalToolsHost = {
  readonly terms: Terms;
  readonly starter: Starter;
  /** The one by which the gateway lists for itself. */
  readonly instance: Instance;
  /** The tools that every client is shown. */
  commonTools(): readonly Tool[];
  /** Called after each listing, with all conditional tools known so far. */
  learnt(conditional: readonly Tool[]): void;
};

/**
 * The tools that a server shows only to clients of some kinds, listed once for each kind of client that comes, for one
 * kind after the other. The server is told of no client more than its kind, since what it shows is for all of them.
 * Questions that the server asks meanwhile are refused, since no call runs.
 */
export class ConditionalTools {
  readonly #host: ConditionalToolsHost;
  readonly #breaker: Breaker;
  /**
   * By kind of client (59, see `clientKind`), the tools that not every client is shown; a promise while they are
   * listed.
   */
  readonly #kinds = new Map<string, readonly Tool[] | Promise<void>>();
  #turn: Promise<unknown> = Promise.resolve();
  /** Settles once the instance of the last listing is gone; who waits for its tools does not wait for that. */
  #gone: Promise<void> = Promise.resolve();

  constructor(host: ConditionalToolsHost) {
    this.#host = host;
    const { tuning, clock } = host.terms.host;
    this.#breaker = createBreaker(tuning.breaker, clock.mono);
  }

  /**
   * Lists for clients of these capabilities if the caller `mayUse` the server; null if that is done, or not possible
   * now.
   */
  learn(capabilities: ClientCapabilities, mayUse: () => boolean): Promise<void> | null {
    const kind = clientKind(capabilities);
    if (kind === "{}") return null;
    const known = this.#kinds.get(kind);
    if (known instanceof Promise) return mayUse() ? known : null;
    if (known || !this.#mayList() || !mayUse()) return null;
    const listed = this.#turn.then(() => this.#list(kind));
    const learning = listed.then((tools) => {
      if (this.#host.instance.link.over || this.#kinds.get(kind) !== learning) return;
      if (!tools) return void this.#kinds.delete(kind);
      this.#kinds.set(kind, tools);
      this.#host.learnt(this.#all());
    });
    this.#turn = listed;
    this.#kinds.set(kind, learning);
    return learning;
  }

  /** Forgets all conditional tools: the common ones have changed, so these may have too. */
  forget(): void {
    this.#kinds.clear();
  }

  /** Whether a listing may begin. One that runs ends with the server, or by itself. */
  #mayList(): boolean {
    return !this.#host.instance.link.over && this.#breaker.wait() === 0;
  }

  /** The tools for one kind of client; null if listing failed, or must not be tried now. */
  async #list(kind: string): Promise<readonly Tool[] | null> {
    await this.#gone;
    if (!this.#mayList()) return null;
    const { terms, commonTools } = this.#host;
    const { host, options } = terms;
    try {
      const { texts } = await this.#drain(kind);
      const names = new Set(commonTools().map(({ name }) => name));
      this.#breaker.reset();
      const { items } = await inTurns(readTools(texts, host));
      return items.filter(({ name }) => !names.has(name));
    } catch (error) {
      this.#breaker.failed();
      host.log.warn("what a server offers only to some clients is not known", {
        server: options.id,
        reason: reasonOf(error),
      });
      return null;
    }
  }

  /** A modern server reads with each request what its client can; a legacy one decides when a client connects. */
  async #drain(kind: string): Promise<Drained> {
    const { starter, instance } = this.#host;
    if (instance.peer.era === "modern") return drainList(instance, "tools", { declares: JSON.parse(kind) });
    const ignored = { notified: () => true, renewed: () => {} };
    const started = await starter.start("legacy", starter.linkHost(ignored, kind));
    try {
      return await drainList(started, "tools");
    } finally {
      this.#gone = started.link.close();
    }
  }

  /** Each tool once, with the kinds of clients that it is shown to. */
  #all(): readonly Tool[] {
    const all = new Map<string, { readonly tool: Tool; readonly shownTo: Set<string> }>();
    for (const [kind, tools] of this.#kinds) {
      if (tools instanceof Promise) continue;
      for (const tool of tools) {
        const known = all.get(tool.name);
        if (known) known.shownTo.add(kind);
        else all.set(tool.name, { tool, shownTo: new Set([kind]) });
      }
    }
    return [...all.values()].map(({ tool, shownTo }) => ({ ...tool, shownTo }));
  }
}
