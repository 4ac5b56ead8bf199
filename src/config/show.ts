import { Document, isScalar, visit } from "yaml";
import { maskPatterns } from "../core/credential-patterns.ts";
import { formatDuration } from "../core/duration.ts";
import type { Path } from "../core/finding.ts";
import { formatSize } from "../core/options.ts";
import { formatRate, parseRate } from "../core/rate.ts";
import { mark, maskValues, secretName } from "../core/secret.ts";
import { pathOf } from "./document.ts";
import { durations } from "./durations.ts";
import type { Loaded, Origin } from "./load.ts";

const rates = new Set(["perMinute", "rateLimit"]);
const sizes = new Set(["limits.body", "limits.result"]);

/** Returns the configuration as plain data, written as in a file and without secret values. */
export function shownData(loaded: Loaded): unknown {
  return show(loaded, loaded.config, []);
}

/** Returns the configuration as YAML, without secret values; comments mark defaults and overrides. */
export function shownYaml(loaded: Loaded): string {
  const doc = new Document(shownData(loaded));
  visit(doc, {
    Pair(_, pair, ancestors) {
      const path = pathOf(ancestors, pair);
      const comment = originComment(loaded.origin(path)) ?? isolationComment(loaded, path);
      if (comment && isScalar(pair.value)) pair.value.comment = comment;
    },
  });
  return textOf(doc);
}

/** Returns the result of `shownData` as YAML, without comments on where values come from. */
export const dataYaml = (data: unknown): string => textOf(new Document(data));

function textOf(doc: Document): string {
  visit(doc, {
    Pair(_, pair, ancestors) {
      // Only YAML, which is for people, shows units: programs that read the data get numbers of bytes.
      if (!sizes.has(pathOf(ancestors, pair).join("."))) return;
      if (isScalar(pair.value) && typeof pair.value.value === "number") pair.value.value = formatSize(pair.value.value);
    },
  });
  return doc.toString({ lineWidth: 0 }).trimEnd();
}

function originComment(origin: Origin): string | null {
  if (origin.from === "override") return ` ${origin.name}`;
  return origin.from === "default" ? " default" : null;
}

/** Returns the comment with the default isolation of a server that sets none; it may depend on the revision. */
function isolationComment({ config }: Loaded, [section, index, key]: Path): string | null {
  const server = section === "servers" && key === "id" ? config.servers[Number(index)] : undefined;
  if (!server || server.isolation !== undefined) return null;
  const isHttp = "url" in server && server.transport === "http";
  const modern = server.protocol === "auto" ? "shared if it speaks 2026-07-28, else per-principal" : "shared";
  const isModern = isHttp && server.protocol !== "legacy";
  return ` isolation: ${"builtin" in server ? "shared" : isModern ? modern : "per-principal"}, by default`;
}

function show(loaded: Loaded, value: unknown, path: Path): unknown {
  const origin = loaded.origin(path);
  if (origin.from === "reference") return shownText(origin.text, path);
  const key = path.at(-1);
  if (typeof value === "string") return maskValues(shownText(value, path), loaded.secrets);
  if (typeof value === "number" && typeof key === "string") return spelt(key, value);
  if (Array.isArray(value)) {
    return value.map((item, index) => (followsSecretFlag(value, index) ? mark : show(loaded, item, [...path, index])));
  }
  if (typeof value !== "object" || value === null) return value;
  if (path.join(".") === "listen.http") return address(value);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined && item !== null)
      .map(([name, item]) => [name, show(loaded, item, [...path, name])]),
  );
}

function spelt(key: string, value: number): number | string {
  if (durations.has(key)) return formatDuration(value);
  const rate = rates.has(key) ? formatRate(value) : "";
  // A rate that has no text form was written as a number.
  return parseRate(rate) === null ? value : rate;
}

function shownText(text: string, path: Path): string {
  if (isSecret(path)) return onlyReferences(text);
  // Rules and names are shown as they are: there, `sk_search_all*` is a tool, not a credential.
  if (!isConnecting(path)) return text;
  const plain = maskPatterns(withoutSecrets(text));
  return path[2] === "args" ? maskNamedSecrets(plain) : plain;
}

/** Masks a text that may be secret, except references and the scheme (Bearer, Basic) of a header's credential. */
function onlyReferences(text: string): string {
  // `$${` is not a reference but literal text.
  const parts = text.split(/((?<!\$)\$\{[^}]*\})/);
  const shown = parts.map((part, index) => {
    if (index % 2 === 1) return part.replace(/:-.*\}$/s, `:-${mark}}`);
    return part === "" || /^(?:Bearer|Basic) $/i.test(part) ? part : mark;
  });
  return shown.every((part) => part === "") ? mark : shown.join("");
}

const connecting: ReadonlySet<unknown> = new Set(["command", "args", "url", "proxy"]);

/** Reports whether a text is an address or command line of a server, the only texts that can contain a credential. */
const isConnecting = ([section, , group]: Path): boolean => section === "servers" && connecting.has(group);

/** Matches the next flag, which is not a value of the one before. A random secret may also start with `-`. */
const nextFlag = String.raw`--|-\S?(?:\s|$)`;
const beginsWithFlag = new RegExp(`^(?:${nextFlag})`);

// `--name ` before a value, `name=`, `name:`, and the same with spaces or quotes around.
const names = new RegExp(
  String.raw`(?<![\w-])(?:-[\w-]*\s+(?!\s|$|${nextFlag})|[\w-]+["']?\s*(?:=|:(?!\/\/))\s*)`,
  "g",
);

/** Matches `-u NAME:` and similar before a password, as for curl; `-u 1000:1000` is a user and a group. */
const login = /(?<![\w-])(?:-[uU][\s=]*|--(?:proxy-)?user[\s=]+)(?![\s=]|\d+:\d+(?!\S))[^\s:]*:(?!\/\/)/;

/** Masks the text after a secret's name in one argument, as in `--header=Authorization: …` or `GITHUB_TOKEN=…`. */
function maskNamedSecrets(text: string): string {
  const telling = text.matchAll(names).find(([found]) => secretName.test(/[\w-]+/.exec(found)?.[0] ?? ""));
  const ends = [telling, login.exec(text)].flatMap((match) => (match ? match.index + match[0].length : []));
  return ends.length > 0 ? text.slice(0, Math.min(...ends)) + mark : text;
}

// All literal values of environments and headers count as secrets, since nothing shows which of them are.
function isSecret(path: Path): boolean {
  const [section, , group, name] = path;
  if (section === "auth") return path.at(-1) === "key";
  return section === "servers" && (group === "env" || group === "headers") && name !== undefined;
}

function followsSecretFlag(list: readonly unknown[], index: number): boolean {
  const before: unknown = list[index - 1];
  const here: unknown = list[index];
  if (typeof before !== "string" || !before.startsWith("-") || beginsWithFlag.test(String(here))) return false;
  return secretName.test(before) || (!login.test(before) && login.test(`${before} ${String(here)}`));
}

/** Masks the login, query values and fragment of a URL, but not references, which do not show their values. */
function withoutSecrets(text: string): string {
  return (
    text
      // Either a login whose password contains `?`, or a query that contains `@`.
      .replace(/(\w:\/\/)[^/\s]*[?#][^/\s]*@\S*/g, `$1${mark}`)
      .replace(/(\w:\/\/)[^/\s]*@/g, `$1${mark}@`)
      .replace(/(\w:\/\/[^\s?#]*)([?#]\S+)/g, (_all, place: string, rest: string) => place + withoutValues(rest))
  );
}

function withoutValues(rest: string): string {
  return rest.replace(/([?#&](?:[^=&#]*=)?)([^&#]+)/g, (_all, name: string, value: string) => {
    return name + onlyReferences(value);
  });
}

function address(value: object): string {
  const { host, port } = { host: "", port: 0, ...value };
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
