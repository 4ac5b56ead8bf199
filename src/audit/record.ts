import { canonical, canonicalString, type Json } from "../core/canonical.ts";

/** Facts of a record beyond those that every record has; absent members are not written. */
export type Fields = {
  readonly type: string;
  /** Wall clock, epoch µs. */
  readonly at: number;
  /** Monotonic clock, µs. */
  readonly mono: number;
  /** ULID of the call. */
  readonly call?: string | undefined;
  /** Key id, or principal id where there is no key. */
  readonly caller?: string | undefined;
  /** Principal id. */
  readonly subj?: string | undefined;
  readonly consumer?: string | undefined;
  readonly roles?: readonly string[] | undefined;
  /** Transport and peer; an address that is not loopback only as a pseudonym. */
  readonly src?: string | undefined;
  /** Digest of the session id. */
  readonly sess?: string | undefined;
  /** JSON-RPC id as it was written. */
  readonly rpc?: string | undefined;
  readonly method?: string | undefined;
  readonly srv?: string | undefined;
  readonly tool?: string | undefined;
  /** SHA-256 of the policy bundle, hex. */
  readonly pol?: string | undefined;
  readonly rule?: string | undefined;
  readonly reason?: string | undefined;
  /** Sandbox level of the server. */
  readonly sbx?: string | undefined;
  /** Payload mode. */
  readonly pay?: string | undefined;
  /** Commitment to the arguments, their true length in bytes, and whether less was stored. */
  readonly ad?: string | undefined;
  readonly al?: number | undefined;
  readonly acut?: boolean | undefined;
  /** The same of the result. */
  readonly rd?: string | undefined;
  readonly rl?: number | undefined;
  readonly rcut?: boolean | undefined;
  readonly st?: string | undefined;
  /** W3C trace id of the caller. */
  readonly trace?: string | undefined;
  /** Failure code, the JSON-RPC error code of the upstream, or its `resultType` where that is not "complete". */
  readonly code?: string | undefined;
  /** Cause that is not shown to callers. */
  readonly cause?: string | undefined;
  /** Duration, µs. */
  readonly us?: number | undefined;
  /** Sequence of the record that this one ends. */
  readonly ref?: number | undefined;
  /** How many occurrences this record stands for. */
  readonly count?: number | undefined;
  /** Flat details of records that are no calls. */
  readonly facts?: Readonly<Record<string, string | number | boolean | null>> | undefined;
};

/** What is the same for every record of one run of one chain. */
export type Stamp = { readonly chain: string; readonly boot: string; readonly node: string; readonly ver: string };

// `type`, `at` and `mono` have a place of their own below; the rest is written in the order of its key.
const before = ["acut", "ad", "al"] as const;
const middle = ["call", "caller", "cause"] as const;
const afterChain = ["code", "consumer", "count", "facts", "method"] as const;
const afterNode = ["pay", "pol"] as const;
const afterPrev = ["rcut", "rd", "reason", "ref", "rl", "roles", "rpc", "rule", "sbx"] as const;
const afterSeq = ["sess", "src", "srv", "st", "subj"] as const;
type Key = Exclude<keyof Fields, "type" | "at" | "mono">;

/** Renders records of one chain as RFC 8785 text; the constants are spelled once. */
export function createRenderer(stamp: Stamp): (fields: Fields, seq: number, prev: string) => string {
  const boot = `"boot":${canonicalString(stamp.boot)}`;
  const chain = `,"chain":${canonicalString(stamp.chain)}`;
  const node = `,"node":${canonicalString(stamp.node)}`;
  const ver = `,"v":1,"ver":${canonicalString(stamp.ver)}}`;
  const time = createTimeText();

  return (fields, seq, prev) => {
    const first = members(fields, before, "");
    return (
      `{${first.slice(1)}${first === "" ? "" : ","}${boot}` +
      members(fields, middle, "") +
      chain +
      members(fields, afterChain, "") +
      `,"mono":${fields.mono}${node}` +
      members(fields, afterNode, `,"prev":"${prev}"`) +
      members(fields, afterPrev, `,"seq":${seq}`) +
      members(fields, afterSeq, `,"t":"${time(fields.at)}"`) +
      (fields.tool === undefined ? "" : `,"tool":${canonicalString(fields.tool)}`) +
      (fields.trace === undefined ? "" : `,"trace":"${fields.trace}"`) +
      `,"type":"${fields.type}"` +
      (fields.us === undefined ? "" : `,"us":${fields.us}`) +
      ver
    );
  };
}

function members(fields: Fields, keys: readonly Key[], end: string): string {
  let text = "";
  for (const key of keys) {
    const value = fields[key];
    if (value !== undefined) text += typeof value === "string" ? textMember(key, value) : otherMember(key, value);
  }
  return text + end;
}

/** Fields that no two calls share. */
const unique: ReadonlySet<Key> = new Set<Key>(["ad", "call", "cause", "rd", "rpc"]);

// Names, rules and digests come again and again, in every record; each is spelled once, with its key.
const spelled = new Map<Key, Map<string, string>>();
const maxSpelled = 2048;
const maxSpelledLength = 100;

function textMember(key: Key, value: string): string {
  if (unique.has(key) || value.length > maxSpelledLength) return `,"${key}":${canonicalString(value)}`;
  let known = spelled.get(key);
  if (!known) spelled.set(key, (known = new Map()));
  const found = known.get(value);
  if (found !== undefined) return found;
  const text = `,"${key}":${canonicalString(value)}`;
  if (known.size >= maxSpelled) known.clear();
  known.set(value, text);
  return text;
}

const lists = new WeakMap<object, string>();

/** Roles belong to a principal and facts to one record: neither is changed once it is here. */
function otherMember(key: Key, value: Exclude<Json, string>): string {
  if (typeof value !== "object" || value === null) return `,"${key}":${canonical(value)}`;
  const known = lists.get(value);
  if (known !== undefined) return known;
  const text = `,"${key}":${canonical(value)}`;
  lists.set(value, text);
  return text;
}

/** Epoch µs as `2026-01-31T08:00:00.123456Z`. */
export function timeText(at: number): string {
  return createTimeText()(at);
}

/** Epoch µs of what `timeText` wrote; NaN for anything else. */
export function timeOf(text: string): number {
  return Date.parse(`${text.slice(0, 19)}Z`) * 1000 + Number(text.slice(20, 26));
}

// Years outside 0000–9999 would change the length of the text and with it its order.
const earliest = Date.UTC(0, 0, 1) - 1900 * 365.25 * 86_400_000;
const latest = Date.UTC(9999, 11, 31);

function createTimeText(): (at: number) => string {
  let second = Number.NaN;
  let text = "";
  return (at) => {
    const now = Math.floor(at / 1_000_000);
    if (now !== second) {
      second = now;
      text = new Date(Math.min(Math.max(now * 1000, earliest), latest)).toISOString().slice(0, 20);
    }
    return `${text}${String(at - now * 1_000_000).padStart(6, "0")}Z`;
  };
}

/** A record as read back; every field of `Fields` with the names it has on disk. */
export type Recorded = Omit<Fields, "at"> & {
  readonly v: number;
  readonly chain: string;
  readonly seq: number;
  readonly prev: string;
  /** UTC, `timeOf` yields µs. */
  readonly t: string;
  readonly boot: string;
  readonly node: string;
  readonly ver: string;
  /** Of a checkpoint: leaves covered, Merkle root (base64), key id, size of the checkpoint before it. */
  readonly size?: number;
};

/** Parses a record that this program wrote; throws SyntaxError when the text is no JSON object. */
export function readRecord(rec: string): Recorded {
  const value: unknown = JSON.parse(rec);
  if (value === null || typeof value !== "object" || !("type" in value)) throw new SyntaxError("not an audit record");
  return value as Recorded; // what was hashed is what the renderer wrote; verify proves it
}

/**
 * `prev` of a record's text without parsing it; null when there is none. Inside a string the quotes would be escaped,
 * and `facts`, the one nested object, comes before it in the order of the keys.
 */
export function prevOf(rec: string): string | null {
  const start = rec.lastIndexOf('"prev":"');
  return start === -1 ? null : rec.slice(start + 8, rec.indexOf('"', start + 8));
}
