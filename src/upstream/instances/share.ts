type Owner = string | null;
/** The parts of an instance that decide which one is ended. */
type Held = { readonly spec: { readonly owner: Owner }; readonly usedAt: number };

/**
 * Most instances of one caller: a quarter of the places is left to others, since nobody can be made to leave a busy
 * one.
 */
export const mostOfOne = (maxInstances: number): number => maxInstances - Math.floor(maxInstances / 4);

/** Whether an owner holds as many as one may. What is shared by all belongs to nobody. */
export const holdsMost = (slots: Iterable<Held>, owner: Owner, maxInstances: number): boolean =>
  owner !== null && [...slots].filter(({ spec }) => spec.owner === owner).length >= mostOfOne(maxInstances);

/**
 * The instances that may be ended, once they are idle, to make room for one more of `owner`. First come those whose
 * callers have left; then those of callers who hold more than a fair share, if `owner` holds less; then the owner's
 * own. Nobody else's is ended, since the gateway cannot know what an instance holds for its caller (a login, an open
 * document). If `owner` holds as many as one may, only one of its own can make room.
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
  const ownOnly = holdsMost(all, owner, maxInstances);
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
