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
  /** The gateway's own instance. */
  readonly instance: Instance;
  /** The tools that every client is shown. */
  commonTools(): readonly Tool[];
  /** Called after each listing, with all conditional tools known so far. */
  learnt(conditional: readonly Tool[]): void;
};

/**
 * The tools that a server shows only to some kinds of clients, listed once for each kind that connects, one after the
 * other. The server learns only the kind of a client, since the result is for all clients of that kind. Its questions
 * during the listing are refused, since no call is running.
 */
export class ConditionalTools {
  readonly #host: ConditionalToolsHost;
  readonly #breaker: Breaker;
  /** By kind of client (59, see `clientKind`), the tools shown only to some; a promise during listing. */
  readonly #kinds = new Map<string, readonly Tool[] | Promise<void>>();
  #turn: Promise<unknown> = Promise.resolve();
  /** Settles once the instance of the last listing has ended; callers that wait for its tools do not wait for this. */
  #gone: Promise<void> = Promise.resolve();

  constructor(host: ConditionalToolsHost) {
    this.#host = host;
    const { tuning, clock } = host.terms.host;
    this.#breaker = createBreaker(tuning.breaker, clock.mono);
  }

  /** Lists the tools for this kind of client if the caller `mayUse` the server; null if known or not possible now. */
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

  /** Forgets all conditional tools: they may have changed with the common ones. */
  forget(): void {
    this.#kinds.clear();
  }

  /** Whether a listing may begin. A running one ends with the server or by itself. */
  #mayList(): boolean {
    return !this.#host.instance.link.over && this.#breaker.wait() === 0;
  }

  /** Lists the tools for one kind of client; null if that failed or must not be tried now. */
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
      host.log.warn("the tools that a server offers only to some clients are not known", {
        server: options.id,
        reason: reasonOf(error),
      });
      return null;
    }
  }

  /** A modern server reads the client's capabilities in each request; a legacy one decides when a client connects. */
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

  /** Returns each tool once, with the kinds of clients that it is shown to. */
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
