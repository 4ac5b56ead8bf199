import { Document, isPair, isScalar, visit } from "yaml";
import { formatDuration } from "../core/duration.ts";
import type { Path } from "../core/finding.ts";
import { mark, maskValues, secretName } from "../core/secret.ts";
import type { Loaded, Origin } from "./load.ts";

// The program counts in milliseconds, but a bare number in the file counts seconds.
const durations = new Set(["timeout", "maxTimeout", "idleStop", "healthCheck", "refresh", "interval"]);

/** The configuration in force as plain data, spelt as in a file and without secret values. */
export function shownConfig(loaded: Loaded): unknown {
  return show(loaded, loaded.config, []);
}

/** The configuration in force as YAML, without secret values; comments mark defaults and overrides. */
export function showConfig(loaded: Loaded): string {
  const doc = new Document(shownConfig(loaded));
  visit(doc, {
    Pair(_, pair, ancestors) {
      const path = pathTo([...ancestors, pair]);
      const comment = originComment(loaded.origin(path));
      if (comment && isScalar(pair.value)) pair.value.comment = comment;
    },
  });
  return doc.toString({ lineWidth: 0 });
}

function originComment(origin: Origin): string | null {
  if (origin.from === "override") return ` ${origin.name}`;
  return origin.from === "default" ? " default" : null;
}

function pathTo(chain: readonly unknown[]): Path {
  return chain.flatMap((item, index): PropertyKey[] => {
    if (isPair(item)) return [isScalar(item.key) ? String(item.key.value) : ""];
    const below = chain[index + 1];
    const items = typeof item === "object" && item !== null && "items" in item ? item.items : null;
    return Array.isArray(items) && !isPair(below) && below !== undefined ? [items.indexOf(below)] : [];
  });
}

function show(loaded: Loaded, value: unknown, path: Path): unknown {
  const origin = loaded.origin(path);
  if (origin.from === "reference") return withoutSecrets(origin.text);
  const key = path.at(-1);
  if (typeof value === "string") return isSecret(path) ? mark : maskValues(withoutSecrets(value), loaded.secrets);
  if (typeof value === "number" && typeof key === "string" && durations.has(key)) return formatDuration(value);
  if (Array.isArray(value)) {
    return value.map((item, index) => (afterSecretFlag(value, index) ? mark : show(loaded, item, [...path, index])));
  }
  if (typeof value !== "object" || value === null) return value;
  if (path.join(".") === "listen.http") return address(value);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined && item !== null)
      .map(([name, item]) => [name, show(loaded, item, [...path, name])]),
  );
}

// Literal values of environments and headers count as secrets, since nothing tells which of them are.
function isSecret(path: Path): boolean {
  const [section, , group, name] = path;
  if (section === "auth") return path.at(-1) === "key";
  return section === "servers" && (group === "env" || group === "headers") && name !== undefined;
}

function afterSecretFlag(list: readonly unknown[], index: number): boolean {
  const before: unknown = list[index - 1];
  const here: unknown = list[index];
  const flag = (text: unknown): boolean => typeof text === "string" && text.startsWith("-");
  if (flag(before) && !flag(here)) return secretName.test(String(before));
  const inline = typeof here === "string" ? /^--?([\w-]+)=/.exec(here) : null;
  return inline !== null && secretName.test(inline[1] ?? "");
}

/**
 * Hides the secret parts that a URL may have: a login, and the values of its query. A reference shows no value anyway.
 */
function withoutSecrets(text: string): string {
  return text
    .replace(/(https?:\/\/)[^/@\s]*@/g, `$1${mark}@`)
    .replace(/(https?:\/\/[^\s?#]*\?)([^\s#]+)/g, (_all, place: string, query: string) => {
      const parts = query.split("&").map((part) => {
        const [name, value] = part.includes("=") ? [part.slice(0, part.indexOf("=") + 1), part] : ["", part];
        return value.includes("${") ? part : `${name}${mark}`;
      });
      return place + parts.join("&");
    });
}

function address(value: object): string {
  const { host, port } = { host: "", port: 0, ...value };
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
