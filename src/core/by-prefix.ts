/** Returns a lookup of the entries whose prefix a text starts with, grouped by prefix, without a scan of them all. */
export function byPrefix<T extends { readonly prefix: string }>(
  entries: readonly T[],
): (text: string) => readonly (readonly T[])[] {
  const groups = Map.groupBy(entries, ({ prefix }) => prefix);
  const lengths = [...new Set(groups.keys().map((prefix) => prefix.length))];
  return (text) => {
    const found: (readonly T[])[] = [];
    for (const length of lengths) {
      const group = length > text.length ? undefined : groups.get(text.slice(0, length));
      if (group) found.push(group);
    }
    return found;
  };
}
