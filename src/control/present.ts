import type { Status } from "../core/failure.ts";
import type { Down, ServerState, ServerStatus } from "../core/upstream.ts";
import { latency, moment } from "./format.ts";
import type { AuditEntry } from "./schemas.ts";

// The wording of records and servers for people.

/** The tone of a value; `quiet` is neutral. */
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

/** Returns the tone of a status; quiet if the call has not ended. */
export const toneOf = (status: string): Tone =>
  Object.hasOwn(statusTones, status) ? statusTones[status as Status] : "quiet"; // just checked

export const stateTones = {
  ready: "good",
  idle: "good",
  starting: "doubtful",
  stopping: "doubtful",
  backoff: "doubtful",
  "open-circuit": "bad",
  disabled: "quiet",
} as const satisfies Record<ServerState, Tone>;

/** Returns the subject of a record: the tool of a call, another method with its target, or the type of the event. */
export function subject({ server, tool, method, type }: AuditEntry): string {
  // An unknown name that a caller sent is quoted, to distinguish it from the canonical name of a tool.
  const isUnknown = server === null && tool !== null && tool !== method;
  const what = isUnknown ? JSON.stringify(tool) : [server, tool].filter((part) => part !== null).join(":");
  // For an extension, `tool` is the method.
  const plain = tool !== null && (method === null || method === "tools/call" || method === tool);
  return plain ? what : `${method ?? type} ${what}`.trimEnd();
}

/** Returns how a call ended; `begin` for a call that is still running. */
export const ending = ({ status, type }: AuditEntry): string => status ?? (type === "call.begin" ? "begin" : "-");

/** Returns rule and reason of a denial, or the reason or details of the event, without the server (see `subject`). */
export function because({ rule, reason, status, facts }: AuditEntry): string {
  const more = Object.entries(facts).filter(([key]) => key !== "server");
  const details = more.map(([key, value]) => `${key}=${short(String(value))}`);
  const why = reason?.replaceAll("\n", " ") ?? details.join(" ");
  if (rule === null || status !== "denied" || why.includes(rule)) return why;
  return why ? `${rule}: ${why}` : rule;
}

type Facts = Readonly<Record<string, unknown>>;

/** Parses the text of a record. */
export const factsIn = (rec: string): Facts => JSON.parse(rec) as Facts; // every record is an object

/** The names of a record's members for people, in display order: first what happened, then the proof. */
const memberNames: Readonly<Record<string, string>> = {
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
  count: "count",
  facts: "details",
  src: "source",
  address: "address",
  subj: "principal",
  sess: "session",
  trace: "trace",
  rpc: "request id",
  call: "call",
  ref: "begin record",
  al: "argument bytes",
  acut: "arguments truncated",
  rl: "result bytes",
  rcut: "result truncated",
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
  mono: "run clock",
  ver: "version",
  v: "format",
};

/** Returns the members of a record with names and an order for people. */
export function recordRows(rec: Facts): (readonly [name: string, value: string])[] {
  const known = Object.entries(memberNames).filter(([name]) => Object.hasOwn(rec, name));
  const others = Object.keys(rec).filter((name) => !Object.hasOwn(memberNames, name));
  const named = [...known, ...others.map((name) => [name, name] as const)];
  return named.map(([name, word]) => [word, shownAs(name, rec[name])]);
}

function shownAs(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value !== "number") return JSON.stringify(value);
  return name === "us" ? latency(value) : name === "mono" ? `${value} µs` : String(value);
}

// Shortens digests; `audit show` has them in full.
const short = (value: string): string => (/^[0-9a-f]{64}$/.test(value) ? `${value.slice(0, 12)}…` : value);

/** Returns the earliest time when an instance may start again. */
export const downUntil = ({ until, open }: Down): string => `${moment(until)}${open ? ", circuit open" : ""}`;

/** Returns the owner of an instance, or `all callers`. */
export const servedBy = ({ owner }: Down): string => owner ?? "all callers";

const pidsOf = ({ pids, ownPid }: ServerStatus): string => {
  const named = pids.map((pid) => (pid === ownPid ? `${pid} (for the gateway)` : String(pid)));
  return named.length > 0 ? `; pid ${named.join(", ")}` : "";
};

/** Returns the facts about one server, by name, in display order. */
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

/** Returns what to do about a server that does not start; null if its last start has not failed. */
export function helpFor({ id, transport, state, reason }: ServerStatus): string | null {
  const logs = transport === "stdio" ? `; \`mcpgw servers logs ${id}\` shows its output` : "";
  if (state === "starting" && reason !== null) return `the start is being retried${logs}`;
  if (state !== "backoff" && state !== "open-circuit") return null;
  return `the start will be retried later${logs}; \`mcpgw servers restart ${id}\` retries now`;
}
