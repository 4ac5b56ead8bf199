import type { Status } from "../core/failure.ts";
import type { Down, ServerState, ServerStatus } from "../core/upstream.ts";
import { latency, moment } from "./format.ts";
import type { AuditEntry } from "./schemas.ts";

// How records and servers are worded wherever people read them.

/** Good, doubtful, bad, or neither. */
export type Tone = "good" | "doubtful" | "bad" | "quiet";

const statusTones = {
  ok: "good",
  tool_error: "doubtful",
  rpc_error: "doubtful",
  denied: "bad",
  invalid: "doubtful",
  rate_limited: "doubtful",
  timeout: "bad",
  cancelled: "quiet",
  unavailable: "bad",
  lost: "bad",
  error: "bad",
  "auth-failed": "bad",
} as const satisfies Record<Status, Tone>;

/** Also quiet if nothing has ended yet. */
export const toneOf = (status: string): Tone =>
  Object.hasOwn(statusTones, status) ? statusTones[status as Status] : "quiet"; // just checked

/** The tone of a server's state. */
export const stateTones = {
  ready: "good",
  idle: "good",
  starting: "doubtful",
  stopping: "doubtful",
  backoff: "doubtful",
  "open-circuit": "bad",
  disabled: "quiet",
} as const satisfies Record<ServerState, Tone>;

/**
 * The subject of a record: the tool that was called, the method if it was another one, with what it was about, or the
 * type of event.
 */
export function subject({ server, tool, method, type }: AuditEntry): string {
  // Quoted, the name that a caller sent and that nothing was found by differs from the canonical name of a tool.
  const isUnknown = server === null && tool !== null && tool !== method;
  const what = isUnknown ? JSON.stringify(tool) : [server, tool].filter((part) => part !== null).join(":");
  // A method of an extension stands where a tool would.
  const plain = tool !== null && (method === null || method === "tools/call" || method === tool);
  return plain ? what : `${method ?? type} ${what}`.trimEnd();
}

/** How a call ended; a call that still runs shows `begin`. */
export const ending = ({ status, type }: AuditEntry): string => status ?? (type === "call.begin" ? "begin" : "-");

/**
 * Why a call ended so: rule and reason of a denial; for other events their details, but the server that `subject` says.
 */
export function because({ rule, reason, status, facts }: AuditEntry): string {
  const more = Object.entries(facts).filter(([key]) => key !== "server");
  const details = more.map(([key, value]) => `${key}=${short(String(value))}`);
  const why = reason?.replaceAll("\n", " ") ?? details.join(" ");
  if (rule === null || status !== "denied" || why.includes(rule)) return why;
  return why ? `${rule}: ${why}` : rule;
}

type Facts = Readonly<Record<string, unknown>>;

/** The members of a record's text. */
export const factsIn = (rec: string): Facts => JSON.parse(rec) as Facts; // every record is an object

/**
 * The members of a record in words: first what happened, then what it is proven by. JSON has them by their own names.
 */
const wordFor: Readonly<Record<string, string>> = {
  t: "time",
  type: "type",
  consumer: "consumer",
  caller: "caller",
  roles: "roles",
  method: "method",
  srv: "server",
  tool: "tool",
  st: "status",
  code: "code",
  rule: "rule",
  reason: "reason",
  cause: "cause",
  us: "took",
  count: "stands for",
  facts: "details",
  src: "source",
  address: "address",
  subj: "principal",
  sess: "session",
  trace: "trace",
  rpc: "request id",
  call: "call",
  ref: "begun in record",
  al: "arguments bytes",
  acut: "arguments cut",
  rl: "result bytes",
  rcut: "result cut",
  pay: "payloads",
  sbx: "sandbox",
  pol: "policy digest",
  ad: "arguments digest",
  rd: "result digest",
  chain: "chain",
  seq: "record",
  prev: "previous hash",
  leaf: "hash",
  node: "host",
  boot: "run",
  mono: "clock of run",
  ver: "version",
  v: "format",
};

/** A record's members, named in words and in an order for people. */
export function recordRows(rec: Facts): (readonly [name: string, value: string])[] {
  const known = Object.entries(wordFor).filter(([name]) => Object.hasOwn(rec, name));
  const others = Object.keys(rec).filter((name) => !Object.hasOwn(wordFor, name));
  const named = [...known, ...others.map((name) => [name, name] as const)];
  return named.map(([name, word]) => [word, shownAs(name, rec[name])]);
}

function shownAs(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value !== "number") return JSON.stringify(value);
  return name === "us" ? latency(value) : name === "mono" ? `${value} µs` : String(value);
}

// Shortens digests: they are for comparing, and `audit show` has them in full.
const short = (value: string): string => (/^[0-9a-f]{64}$/.test(value) ? `${value.slice(0, 12)}…` : value);

/** The earliest time at which an instance may start again. */
export const downUntil = ({ until, open }: Down): string => `${moment(until)}${open ? ", circuit open" : ""}`;

/** Whom an instance serves. */
export const servedBy = ({ owner }: Down): string => owner ?? "all callers";

const pidsOf = ({ pids, ownPid }: ServerStatus): string => {
  const named = pids.map((pid) => (pid === ownPid ? `${pid} (for the gateway)` : String(pid)));
  return named.length > 0 ? `; pid ${named.join(", ")}` : "";
};

/** All facts about one server, by name. */
export const serverFacts = (server: ServerStatus): readonly (readonly [name: string, value: string])[] => [
  ["server", `${server.id} (${server.name})`],
  ["state", server.state],
  ["reason", server.reason ?? "-"],
  ["transport", server.transport],
  ["protocol", server.revision === null ? "-" : `${server.revision} (${server.era})`],
  ["instances", `${server.instances} for callers${pidsOf(server)}`],
  ["calls in flight", String(server.inFlight)],
  ["restarts", String(server.restarts)],
  ["tools", String(server.tools)],
  ["listed", server.listedAt === null ? "never" : moment(server.listedAt)],
  ["sandbox", server.sandbox],
];

/** What to do about a server that does not start; null if its last start has not failed. */
export function helpFor({ id, transport, state, reason }: ServerStatus): string | null {
  const logs = transport === "stdio" ? `; \`mcpgw servers logs ${id}\` shows what it wrote` : "";
  if (state === "starting" && reason !== null) return `it is being started again${logs}`;
  if (state !== "backoff" && state !== "open-circuit") return null;
  return `it is tried again later${logs}; \`mcpgw servers restart ${id}\` tries at once`;
}
