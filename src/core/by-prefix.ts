/** Finds the entries with whose prefix a text begins, in groups of one prefix each, without a look at every entry. */
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
