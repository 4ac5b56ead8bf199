type Owner = string | null;
/** The properties of an instance that decide which one is ended. */
type Held = { readonly spec: { readonly owner: Owner }; readonly usedAt: number };

/** Maximum instances of one caller. A quarter of the places is left to others, since a busy instance is never ended. */
export const maxPerCaller = (maxInstances: number): number => maxInstances - Math.floor(maxInstances / 4);

/** Reports whether an owner holds its maximum. A shared instance belongs to nobody. */
export const holdsMax = (slots: Iterable<Held>, owner: Owner, maxInstances: number): boolean =>
  owner !== null && [...slots].filter(({ spec }) => spec.owner === owner).length >= maxPerCaller(maxInstances);

/**
 * Returns the instances that may be ended, once they are idle, to make room for one more of `owner`. Instances whose
 * callers have left come first; then those of callers that hold more than a fair share, if `owner` holds less; then the
 * owner's own. No other instance is ended, because the gateway cannot know what it holds for its caller (a login, an
 * open document). If `owner` holds its maximum, only its own instances can make room.
 */
export function endable<T extends Held>(
  slots: Iterable<T>,
  owner: Owner,
  maxInstances: number,
  isLeft: (slot: T) => boolean,
): T[] {
  const all = [...slots];
  const holdings = new Map<Owner, number>([[owner, 0]]);
  const held = (of: Owner): number => holdings.get(of) ?? 0;
  for (const { spec } of all) holdings.set(spec.owner, held(spec.owner) + 1);
  const share = Math.max(1, Math.floor(maxInstances / holdings.size));
  const rich = (of: Owner): boolean => of !== owner && held(of) > share && held(owner) < share;
  const left = new Set(all.filter(isLeft));
  const ownOnly = holdsMax(all, owner, maxInstances);
  return all
    .filter((slot) => slot.spec.owner === owner || (!ownOnly && (left.has(slot) || rich(slot.spec.owner))))
    .toSorted(
      (a, b) =>
        Number(left.has(b)) - Number(left.has(a)) ||
        Number(a.spec.owner === owner) - Number(b.spec.owner === owner) ||
        held(b.spec.owner) - held(a.spec.owner) ||
        a.usedAt - b.usedAt,
    );
}
