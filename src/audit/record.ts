import { canonical, type Json } from "../core/canonical.ts";
import type { Facts, RecordType } from "../core/event.ts";
import { createTimeText } from "../core/time-text.ts";
import { Bytes } from "./bytes.ts";

/** Members of a record beyond those that the chain adds; absent members are not written. */
export type Fields = {
  readonly type: RecordType;
  /** Wall clock, epoch µs. */
  readonly at: number;
  /** Monotonic clock, µs. */
  readonly mono: number;
  /** ULID of the call. */
  readonly call?: string | undefined;
  /** Key id, or principal id if there is no key. */
  readonly caller?: string | undefined;
  /** Principal id. */
  readonly subj?: string | undefined;
  readonly consumer?: string | undefined;
  readonly roles?: readonly string[] | undefined;
  /** Transport and peer; an address that is not loopback appears only as a pseudonym. */
  readonly src?: string | undefined;
  /** Digest of the session id. */
  readonly sess?: string | undefined;
  /** JSON-RPC id, exactly as the client wrote it. */
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
  /** Commitment to the arguments, their full length in bytes, and whether the stored text was cut. */
  readonly ad?: string | undefined;
  readonly al?: number | undefined;
  readonly acut?: boolean | undefined;
  /** The same for the result. */
  readonly rd?: string | undefined;
  readonly rl?: number | undefined;
  readonly rcut?: boolean | undefined;
  readonly st?: string | undefined;
  /** W3C trace id of the caller. */
  readonly trace?: string | undefined;
  /** Failure code, the JSON-RPC error code of the upstream, or its `resultType` if that is not "complete". */
  readonly code?: string | undefined;
  /** Cause that is not shown to callers. */
  readonly cause?: string | undefined;
  /** Duration, µs. */
  readonly us?: number | undefined;
  /** Sequence of the record that this one ends. */
  readonly ref?: number | undefined;
  /** Number of occurrences this record stands for; its duration and lengths are their means. */
  readonly count?: number | undefined;
  /** Flat details: for a call, the process that made it, if known; for other records, the facts they report. */
  readonly facts?: Facts | undefined;
};

/** Members that are the same for every record of one run of one chain; `boot` is the id of the run. */
export type Stamp = { readonly chain: string; readonly boot: string; readonly node: string; readonly ver: string };

/** Members that the writer of a chain adds to each record; `t` is UTC, which `timeOf` converts to µs. */
type Position = { readonly seq: number; readonly prev: string; readonly t: string };
type Member = Exclude<keyof Fields, "at"> | keyof Stamp | keyof Position | "v";

/**
 * Every member of a record. `shared` values repeat and are part of a cached template; `unique` values are filled in per
 * record; `placed` values come from the position in the chain.
 */
export const members = {
  acut: "shared",
  ad: "unique",
  al: "unique",
  boot: "shared",
  call: "unique",
  caller: "shared",
  cause: "shared",
  chain: "shared",
  code: "shared",
  consumer: "shared",
  count: "shared",
  facts: "shared",
  method: "shared",
  mono: "unique",
  node: "shared",
  pay: "shared",
  pol: "shared",
  prev: "placed",
  rcut: "shared",
  rd: "unique",
  reason: "shared",
  ref: "unique",
  rl: "unique",
  roles: "shared",
  rpc: "unique",
  rule: "shared",
  sbx: "shared",
  seq: "placed",
  sess: "unique",
  src: "shared",
  srv: "shared",
  st: "shared",
  subj: "shared",
  t: "placed",
  tool: "shared",
  trace: "unique",
  type: "shared",
  us: "unique",
  v: "shared",
  ver: "shared",
} as const satisfies Record<Member, "shared" | "unique" | "placed">;

/** All members in the order of RFC 8785. */
const order = (Object.keys(members) as Member[]).toSorted(); // the table's own keys
type Hole = { [M in Member]: (typeof members)[M] extends "shared" ? never : M }[Member];
const isHole = (key: Member): key is Hole => members[key] !== "shared";

/** A template for all records that differ only in `holes`; `ends` are the holes' offsets, then the text's length. */
type Form = {
  readonly text: Buffer;
  readonly ends: readonly number[];
  readonly holes: readonly Hole[];
};

/** Encodes the records of one chain, a batch at a time. */
export type Encoder = {
  /** Ends the batch: what was encoded before may be overwritten. */
  reset(): void;
  /** Returns the preimage of a record's leaf: a zero byte and the record's RFC 8785 text in UTF-8. */
  encode(fields: Fields, seq: number, prev: string): Buffer;
};

const initialBatchBytes = 64 * 1024;

/** Creates an encoder for the records of one run of one chain; it reuses the memory of one batch for the next. */
export function createEncoder(stamp: Stamp): Encoder {
  const time = createTimeText();
  const formOf = createForms(stamp);
  // One buffer for all batches: as strings, records would be most of the garbage a call produces.
  const out = new Bytes(initialBatchBytes);

  function fill(hole: Hole, fields: Fields, seq: number, prev: string): void {
    if (hole === "prev") return out.putString(prev);
    if (hole === "t") return out.putString(time(fields.at));
    const value = hole === "seq" ? seq : fields[hole];
    if (typeof value === "string") out.putString(value);
    else out.putInteger(value ?? 0);
  }

  return {
    reset: () => out.reset(),
    encode(fields, seq, prev) {
      const { text, ends, holes } = formOf(fields);
      out.begin(0);
      let start = 0;
      for (let at = 0; at < ends.length; at += 1) {
        const end = ends[at] ?? start;
        out.put(text, start, end);
        start = end;
        const hole = holes[at];
        if (hole) fill(hole, fields, seq, prev);
      }
      return out.taken();
    },
  };
}

/** Finds a record's form. Forms of calls without a failure are cached, since most records are like earlier ones. */
function createForms(stamp: Stamp): (fields: Fields) => Form {
  const begins = createFormCache(stamp);
  const ends = createFormCache(stamp);
  return (fields) => {
    if (fields.code === undefined && fields.type === "call.begin") return begins(fields);
    if (fields.code === undefined && fields.type === "call.end") return ends(fields);
    return compile(fields, stamp);
  };
}

const maxForms = 4096;
/** A longer tool is a URI that a caller chose: it hardly ever repeats, and its forms would fill the memory. */
const maxToolLength = 512;

/** A form together with the fields of the record it was compiled for. */
type KnownForm = Form & { readonly of: Fields };

/**
 * Caches the last form of each tool and caller. A full cache is cleared as a whole: every record passes through here,
 * and tracking the order of use would cost more than recompiling a form now and then.
 */
function createFormCache(stamp: Stamp): (fields: Fields) => Form {
  const known = new Map<string | undefined, Map<string | undefined, KnownForm>>();
  let count = 0;
  return (fields) => {
    if (fields.tool !== undefined && fields.tool.length > maxToolLength) return compile(fields, stamp);
    let byCaller = known.get(fields.tool);
    const last = byCaller?.get(fields.caller);
    if (last && alike(last.of, fields)) return last;
    if (!last && ++count > maxForms) {
      known.clear();
      count = 1;
      byCaller = undefined;
    }
    if (!byCaller) known.set(fields.tool, (byCaller = new Map<string | undefined, KnownForm>()));
    const form = { ...compile(fields, stamp), of: withoutUnique(fields) };
    byCaller.set(fields.caller, form);
    return form;
  };
}

/** Reduces unique texts to their presence: the request id is a slice that keeps its whole message in memory. */
function withoutUnique(fields: Fields): Fields {
  const [call, sess, rpc, trace] = [fields.call && "", fields.sess && "", fields.rpc && "", fields.trace && ""];
  return { ...fields, call, sess, rpc, trace, ad: fields.ad && "", rd: fields.rd && "" };
}

/**
 * Reports whether two records have the same members and equal shared values. A loop over names would cost more than
 * writing the record; a test compares this with the table above.
 */
function alike(a: Fields, b: Fields): boolean {
  return sameCall(a, b) && sameDecision(a, b) && sameMembers(a, b);
}

function sameCall(a: Fields, b: Fields): boolean {
  if (a.type !== b.type || a.method !== b.method || a.srv !== b.srv || a.tool !== b.tool) return false;
  if (a.caller !== b.caller || a.consumer !== b.consumer || a.subj !== b.subj || a.src !== b.src) return false;
  return a.roles === b.roles && a.st === b.st && a.code === b.code && a.cause === b.cause;
}

function sameDecision(a: Fields, b: Fields): boolean {
  if (a.pol !== b.pol || a.rule !== b.rule || a.reason !== b.reason || a.sbx !== b.sbx) return false;
  if (a.pay !== b.pay || a.acut !== b.acut || a.rcut !== b.rcut) return false;
  return a.count === b.count && a.facts === b.facts;
}

/** Reports whether each unique member is present in both records or in neither; the values may differ. */
function sameMembers(a: Fields, b: Fields): boolean {
  if (!both(a.ad, b.ad) || !both(a.al, b.al) || !both(a.rd, b.rd) || !both(a.rl, b.rl)) return false;
  if (!both(a.call, b.call) || !both(a.ref, b.ref) || !both(a.us, b.us) || !both(a.trace, b.trace)) return false;
  return both(a.rpc, b.rpc) && both(a.sess, b.sess);
}

const both = (a: unknown, b: unknown): boolean => (a === undefined) === (b === undefined);

function compile(of: Fields, stamp: Stamp): Form {
  const values: { readonly [K in Member]?: Json | undefined } = { ...of, ...stamp, v: 1, seq: 0, prev: "", t: "" };
  const holes: Hole[] = [];
  const ends: number[] = [];
  let text = "";
  for (const key of order) {
    const value = values[key];
    if (value === undefined) continue;
    text += `${text === "" ? "{" : ","}"${key}":`;
    if (isHole(key)) {
      ends.push(Buffer.byteLength(text));
      holes.push(key);
    } else text += canonical(value);
  }
  text += "}";
  const bytes = Buffer.from(text);
  return { text: bytes, ends: [...ends, bytes.length], holes };
}

/** A record as read back, with the member names it has on disk. */
export type Recorded = Omit<Fields, "at" | "type"> &
  Stamp &
  Position & {
    /** A `RecordType`, or a type written by another version of this program. */
    readonly type: string;
    readonly v: number;
  };

/** Parses a record that this program wrote; throws SyntaxError if the text is not a JSON object. */
export function readRecord(rec: string): Recorded {
  const value: unknown = JSON.parse(rec);
  if (value === null || typeof value !== "object" || !("type" in value)) throw new SyntaxError("not an audit record");
  return value as Recorded; // the encoder wrote it; `verify` finds later changes
}

/** Returns the server that a record is about: the server of the call, or the one named in the facts of an event. */
export function serverOf({ srv, facts }: Pick<Recorded, "srv" | "facts">): string | null {
  const told = facts?.["server"];
  return srv ?? (typeof told === "string" ? told : null);
}

/**
 * Finds `prev` in a record's text without parsing it; null if there is none. The last match is the right one: inside a
 * string the quotes would be escaped, and `facts`, the only nested object, sorts before `prev`.
 */
export function prevOf(rec: string): string | null {
  const start = rec.lastIndexOf('"prev":"');
  return start === -1 ? null : rec.slice(start + 8, rec.indexOf('"', start + 8));
}
