import { Failure } from "../core/failure.ts";
import { isObject } from "../core/json.ts";
import type { ListName } from "../core/lists.ts";
import type { Sealer } from "../core/ports.ts";
import type { Thing } from "./things.ts";

// As long as other sealed texts of callers. A client that reads pages asks for the next one at once.
const lifeMs = 600_000;

/**
 * Cursors over lists: sealed texts that say where a caller's list continues. Each works for one caller and one list.
 */
export type Cursors = {
  /** The cursor of the page after a thing. */
  after(who: string, list: ListName, scope: string, thing: Thing): string;
  /**
   * The index at which a cursor's page starts. Throws `invalid-params` if the cursor is not this caller's for this
   * list.
   */
  start(who: string, list: ListName, scope: string, things: readonly Thing[], cursor: unknown): number;
};

/** Creates cursors; the sealer makes and opens them, nothing is stored. */
export function createCursors(sealer: Sealer): Cursors {
  return {
    after: (who, list, scope, { route }) =>
      sealer.seal("cursor", who, JSON.stringify({ list, scope, after: route.wire }), lifeMs),
    start(who, list, scope, things, cursor) {
      if (cursor === undefined || cursor === null) return 0;
      const text = typeof cursor === "string" ? sealer.open("cursor", who, cursor) : null;
      const value: unknown = text === null ? null : JSON.parse(text);
      if (!isObject(value) || value.list !== list || value.scope !== scope || typeof value.after !== "string")
        throw new Failure(
          "invalid-params",
          "Unknown cursor: it has expired, or is of another list; list anew without.",
        );
      return firstAfter(things, value.after);
    },
  };
}

/**
 * The index of the first thing whose wire name comes after `wire`. The list may have changed since the cursor was made.
 */
function firstAfter(things: readonly Thing[], wire: string): number {
  let low = 0;
  let high = things.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((things[middle]?.route.wire ?? "") <= wire) low = middle + 1;
    else high = middle;
  }
  return low;
}
