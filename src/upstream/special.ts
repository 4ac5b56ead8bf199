import type { Tool } from "../core/call.ts";
import { type ClientCapabilities, inputKey } from "../core/inbound.ts";
import { editObject } from "../mcp/edit.ts";
import { reasonOf } from "./faults.ts";
import type { SetHost } from "./host.ts";
import { drainList, readTools } from "./listing.ts";
import type { Speaks } from "./meeting.ts";
import type { Starter } from "./starter.ts";

/** Kinds of clients that are told apart; there are not many ways to declare three capabilities. */
const mostKinds = 16;

/**
 * What a legacy server shows only to clients that can be asked something. Such servers decide when a client connects,
 * so this connects once for each kind of client that comes, lists and lets go; what the server asks meanwhile is
 * refused, for nobody calls.
 */
export class Special {
  readonly #starter: Starter;
  readonly #speaks: Speaks;
  readonly #host: SetHost;
  readonly #server: string;
  /** By kind of client, the tools beyond what everybody is shown; a promise while they are being listed. */
  readonly #kinds = new Map<string, readonly Tool[] | Promise<void>>();

  constructor(starter: Starter, speaks: Speaks, host: SetHost, server: string) {
    this.#starter = starter;
    this.#speaks = speaks;
    this.#host = host;
    this.#server = server;
  }

  /** Lists for clients of these capabilities; null when that is done. `learnt` is told all that is known then. */
  learn(
    capabilities: ClientCapabilities,
    usual: readonly Tool[],
    learnt: (special: readonly Tool[]) => void,
  ): Promise<void> | null {
    const kind = inputKey(capabilities);
    const known = this.#kinds.get(kind);
    if (known instanceof Promise) return known;
    if (known || this.#kinds.size >= mostKinds) return null;
    const learning = this.#list(capabilities, new Set(usual.map(({ name }) => name))).then((tools) => {
      if (this.#kinds.get(kind) !== learning) return;
      this.#kinds.set(kind, tools);
      if (tools.length > 0) learnt(this.#all());
    });
    this.#kinds.set(kind, learning);
    return learning;
  }

  /** The usual tools have changed, so these may have too. */
  forget(): void {
    this.#kinds.clear();
  }

  async #list({ text }: ClientCapabilities, usual: ReadonlySet<string>): Promise<readonly Tool[]> {
    const { limits, refuses, log } = this.#host;
    const declares = editObject(text, { tasks: null });
    const linkHost = this.#starter.linkHost({ notified: () => true, renewed: () => {} }, declares, true);
    try {
      const { link, peer } = await this.#starter.start("legacy", linkHost, this.#speaks);
      try {
        const { texts } = await drainList(link, linkHost, peer, "tools");
        return readTools(texts, peer.era, { ...limits, refuses }).items.filter(({ name }) => !usual.has(name));
      } finally {
        await link.close();
      }
    } catch (error) {
      log.warn("what a server offers to clients that can be asked is not known", {
        server: this.#server,
        reason: reasonOf(error),
      });
      return [];
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
