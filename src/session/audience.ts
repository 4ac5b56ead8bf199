import { Failure } from "../core/failure.ts";
import type { Audience, Wants } from "../core/ports.ts";
import type { Principal, Source } from "../core/principal.ts";

type List = "tools" | "prompts" | "resources";

type Member = {
  readonly who: Principal;
  readonly source: Source;
  readonly wants: Wants;
  readonly send: (method: string, params: string | null) => void;
  /** What it was last shown of each list; a change that its rights hide from it is none. */
  readonly shown: Map<List, string>;
};

/** A fingerprint of what a caller is shown of a list. */
export type Shown = (who: Principal, source: Source, wants: Wants, list: List) => string;

const lists: readonly List[] = ["tools", "prompts", "resources"];
const mostMembers = 20_000;

/** Everybody who listens, and how they are told; one of a process, over all reloads. */
export class Listeners implements Audience {
  readonly #members = new Set<Member>();
  readonly #shown: Shown;

  constructor(shown: Shown) {
    this.#shown = shown;
  }

  get size(): number {
    return this.#members.size;
  }

  join: Audience["join"] = (who, source, wants, send) => {
    if (this.#members.size >= mostMembers) {
      throw new Failure("overloaded", `All ${mostMembers} places for listeners are taken; try again later.`, {
        retryAfterMs: 5_000,
      });
    }
    const member: Member = { who, source, wants, send, shown: new Map() };
    for (const list of wants.lists) member.shown.set(list, this.#shown(who, source, wants, list));
    this.#members.add(member);
    return () => void this.#members.delete(member);
  };

  /** Tells each listener of the lists that have changed for it. */
  changed(): void {
    for (const member of this.#members) {
      for (const list of lists) {
        if (!member.wants.lists.has(list)) continue;
        const now = this.#shown(member.who, member.source, member.wants, list);
        if (now === member.shown.get(list)) continue;
        member.shown.set(list, now);
        member.send(`notifications/${list}/list_changed`, null);
      }
    }
  }
}
