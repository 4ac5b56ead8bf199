/** Returns a function that computes its value once per object and keeps it for as long as the object lives. */
export function memoize<K extends object, V extends NonNullable<unknown> | null>(make: (key: K) => V): (key: K) => V {
  const known = new WeakMap<K, V>();
  return (key) => {
    let value = known.get(key);
    if (value === undefined) known.set(key, (value = make(key)));
    return value;
  };
}
