/** Keys and indexes from the top of the configuration file. */
export type Path = readonly PropertyKey[];

/** Something wrong or doubtful, not yet tied to a position; `key` points at the key rather than at its value. */
export type Finding = { readonly path: Path; readonly message: string; readonly key?: boolean };

/** Problems that make a configuration unusable, and doubtful things. */
export type Findings = { readonly problems: readonly Finding[]; readonly warnings: readonly Finding[] };

/**
 * What a rule says of one server: a tool or prompt of it by its name or a glob, null for all; and the subjects of its
 * conditions. A null kind stands for all.
 */
export type Mention = {
  readonly path: Path;
  readonly kind: "tool" | "prompt" | null;
  readonly server: string;
  readonly name: string | null;
  readonly subjects: readonly string[];
};

/** Somebody who has roles, and where the configuration gives them. */
export type Carrier = { readonly path: Path; readonly roles: readonly string[] };

/** `servers[0].env.TOKEN`; a key that is no plain word is quoted. */
export function formatPath(path: Path): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    const key = String(part);
    if (!/^[\w-]+$/.test(key)) return `${text}[${JSON.stringify(key)}]`;
    return text ? `${text}.${key}` : key;
  }, "");
}

/** The value at a path of plain data; undefined if there is none. */
export function valueAt(value: unknown, path: Path): unknown {
  let here = value;
  for (const key of path) {
    if (typeof here !== "object" || here === null || !Object.hasOwn(here, key)) return undefined;
    here = Reflect.get(here, key);
  }
  return here;
}
