import { orNull } from "../core/attempt.ts";
import { type Finding, type Path, valueAt } from "../core/finding.ts";
import { hashKey, keyHash } from "../core/key-hash.ts";
import { schemaFindings } from "./schema-findings.ts";
import { type Config, configSchema } from "./schema.ts";

const id = (): string => `unread-${crypto.randomUUID()}`;

/** Placeholders for invalid entries, by list, so that the other entries keep their indexes. */
const placeholderEntries: Readonly<Record<string, () => unknown>> = {
  servers: () => ({ id: id(), builtin: "calculator" }),
  rules: () => ({ id: id(), action: "deny" }),
  policies: () => ({ id: id(), roles: ["unread"], rules: [] }),
  "policies.rules": () => ({ action: "deny" }),
  "auth.keys": () => ({ id: id(), keyHash: keyHash(hashKey(id())), consumerId: "unread", roles: ["unread"] }),
};

/** Maximum number of passes: removing an invalid part may reveal others. */
const rounds = 10;

/**
 * Returns a configuration without its invalid parts, so that the rest can be checked. An invalid entry of a list in
 * `placeholderEntries` is replaced by a placeholder; any other invalid section is removed entirely. Null if this fails.
 */
export function salvage(whole: unknown, problems: readonly Finding[]): Config | null {
  const value = copyOf(whole);
  if (!isGroup(value)) return null;
  let wrong: readonly Path[] = problems.map(({ path }) => path);
  for (let round = 0; round < rounds; round++) {
    for (const path of wrong) replace(value, path);
    const parsed = configSchema.safeParse(value);
    if (parsed.success) return parsed.data;
    wrong = schemaFindings(parsed.error.issues, value).map(({ path }) => path);
  }
  return null;
}

type Group = Record<PropertyKey, unknown>;

const isGroup = (value: unknown): value is Group => typeof value === "object" && value !== null;

/** Returns a copy in which YAML aliases become separate objects; null if an object contains itself. */
const copyOf = (value: unknown): unknown => orNull<unknown>(() => JSON.parse(JSON.stringify(value)));

function replace(value: Group, path: Path): void {
  const [section] = path;
  const at = path.findLastIndex((key, index) => typeof key === "number" && isReplaceable(path.slice(0, index)));
  const list = valueAt(value, path.slice(0, at));
  if (at > 0 && Array.isArray(list)) list[Number(path[at])] = placeholderEntries[listAt(path.slice(0, at))]?.();
  else if (section !== undefined) delete value[section];
  // Toolsets refer to servers, and an unknown key may be a mistyped section.
  if (path.length < 2 || section === "servers") delete value["toolsets"];
}

const isReplaceable = (list: Path): boolean => Object.hasOwn(placeholderEntries, listAt(list));

/** Returns `policies.rules` for `policies[0].rules`. */
const listAt = (path: Path): string => path.filter((key) => typeof key !== "number").join(".");
