import { Failure } from "../core/failure.ts";
import { isObject } from "../core/json.ts";
import type { ListName } from "../core/lists.ts";
import type { Sealer } from "../core/ports.ts";
import type { Entry } from "./entries.ts";

// The same lifetime as other texts sealed for callers. A client that reads pages asks for the next one at once.
const lifeMs = 600_000;

/** The caller's list that a page belongs to, and its entries. */
type Paged = {
  readonly who: string;
  readonly list: ListName;
  readonly scope: string;
  readonly entries: readonly Entry[];
};

/** Returns the cursor of the page that begins at this index, sealed for this caller and this list. */
export function cursorAt(sealer: Sealer, { who, list, scope, entries }: Paged, index: number): string {
  return sealer.seal("cursor", who, JSON.stringify({ list, scope, after: entries[index - 1]?.wire }), lifeMs);
}

/** Returns the index at which a cursor's page starts; throws `invalid-params` for another caller's or list's cursor. */
export function startOf(sealer: Sealer, { who, list, scope, entries }: Paged, cursor: unknown): number {
  if (cursor === undefined || cursor === null) return 0;
  const text = typeof cursor === "string" ? sealer.open("cursor", who, cursor) : null;
  const value: unknown = text === null ? null : JSON.parse(text);
  if (!isObject(value) || value.list !== list || value.scope !== scope || typeof value.after !== "string")
    throw new Failure(
      "invalid-params",
      "Unknown cursor: it has expired or belongs to another list; list again without a cursor.",
    );
  return firstAfter(entries, value.after);
}

/** Returns the index of the first entry after `wire`, which may have left the list since the cursor was made. */
function firstAfter(entries: readonly Entry[], wire: string): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((entries[middle]?.wire ?? "") <= wire) low = middle + 1;
    else high = middle;
  }
  return low;
}
