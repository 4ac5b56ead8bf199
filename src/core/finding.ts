/** Keys and indexes from the top of the configuration file. */
export type Path = readonly PropertyKey[];

/** A problem or doubt without a position yet; `key` points at the key instead of its value. */
export type Finding = { readonly path: Path; readonly message: string; readonly key?: boolean };

/** Problems that make a configuration unusable, and warnings. */
export type Findings = { readonly problems: readonly Finding[]; readonly warnings: readonly Finding[] };

/**
 * What a rule names: a tool or prompt (null: any kind) of a server by name or glob (null: all), and the subjects of its
 * conditions.
 */
export type Mention = {
  readonly path: Path;
  readonly kind: "tool" | "prompt" | null;
  readonly server: string;
  readonly name: string | null;
  readonly subjects: readonly string[];
};

/** Something that has roles, and where the configuration grants them. */
export type Carrier = { readonly path: Path; readonly roles: readonly string[] };

/** Formats a path as `servers[0].env.TOKEN`; a key that is not a plain word is quoted. */
export function formatPath(path: Path): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    const key = String(part);
    if (!/^[\w-]+$/.test(key)) return `${text}[${JSON.stringify(key)}]`;
    return text ? `${text}.${key}` : key;
  }, "");
}

/** Returns the value at a path of plain data; undefined if there is none. */
export function valueAt(value: unknown, path: Path): unknown {
  let here = value;
  for (const key of path) {
    if (typeof here !== "object" || here === null || !Object.hasOwn(here, key)) return undefined;
    here = Reflect.get(here, key);
  }
  return here;
}
