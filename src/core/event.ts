import type { Revision } from "./inbound.ts";

// The audit events other than calls. Writers and readers share this one set of names.

/** Every type of record that the audit log can hold. */
export const recordTypes = [
  "call.begin",
  "call.end",
  "call.refused",
  "call.lost",
  "call.input",
  "session.open",
  "session.close",
  "session.input",
  "auth.failed",
  "clock.step",
  "audit.resumed",
  "checkpoint",
  "checkpoint.torn",
  "admin.reload",
  "admin.server-restart",
  "admin.payloads-shown",
  "admin.payloads-exported",
  "key.created",
  "key.rotated",
  "key.revoked",
  "key.frozen",
  "key.unfrozen",
  "key.rebuilt",
  "config.loaded",
  "config.rejected",
  "server.probed",
  "server.started",
  "server.stopped",
  "server.crashed",
  "server.circuit-open",
] as const;
export type RecordType = (typeof recordTypes)[number];

/** Types that make up half of all records. They are shown only on request, and metering does not need them. */
export const omittedTypes: readonly string[] = ["call.begin", "checkpoint"] satisfies RecordType[];

/** Flat details of a record; they must not hold secrets. */
export type Facts = Readonly<Record<string, string | number | boolean | null>>;

type Nothing = Readonly<Record<never, never>>;
type Server = { readonly server: string };
type Key = { readonly key: string };
type Issued = Key & { readonly consumer: string; readonly roles: string };
/** `principal` is set if the instance serves callers: the principal, or null if it serves all. */
type Ended = Server & { readonly reason: string; readonly principal?: string | null };
type Started = Server & { readonly pid: number; readonly argv: string; readonly sandbox: "none" };

/** One fact per configured server id: a single text of all would be truncated if there are many. */
type Servers = { readonly [id: `server.${string}`]: "on" | "off" };

/** Actions of operators and the facts recorded of each; who acted is recorded with them. */
export type Acts = {
  "admin.reload": Nothing;
  "admin.server-restart": Server;
  /** `begin` is the call's first record, whose payload was shown as well. */
  "admin.payloads-shown": { readonly chain: string; readonly seq: number; readonly begin?: number };
  "admin.payloads-exported": { readonly chains: string };
  "key.created": Issued;
  "key.rotated": Issued & { readonly replaces: string };
  /** `keyHash` is that of a configured key, which is recorded nowhere else once its secret is replaced. */
  "key.revoked": Key & { readonly keyHash?: string };
  "key.frozen": Nothing;
  "key.unfrozen": Nothing;
};

/** Events that happen by themselves or are caused by a client. */
type Happenings = {
  "session.open": { readonly session: string; readonly client: string | null; readonly revision: Revision };
  "session.close": { readonly session: string; readonly reason: string };
  "config.loaded": { readonly file: string; readonly digest: string; readonly policy: string } & Servers;
  "config.rejected": { readonly file: string; readonly cause: string };
  "server.probed": Started;
  "server.started": Started;
  "server.stopped": Server & { readonly pid: number };
  "server.crashed": Ended;
  "server.circuit-open": Ended;
  "key.rebuilt": { readonly revoked: number; readonly frozen: boolean; readonly lost: number };
  "clock.step": { readonly us: number };
  "audit.resumed": { readonly after: string; readonly unrecorded: number };
  checkpoint: { readonly size: number; readonly root: string; readonly key: string; readonly from: number };
  "checkpoint.torn": { readonly file: string };
};

/** The requesting process, as the kernel reports it; `groups` (comma-separated) is set if it has more than `gid`. */
export type Asker = { readonly uid: number; readonly gid: number; readonly pid: number; readonly groups?: string };
type Noted<Type, F> = {
  readonly type: Type;
  /** Who acted: a principal id, or `system`. */
  readonly actor: string;
  /** Of sessions only: the principal's consumer and key, the names by which call records identify it. */
  readonly consumer?: string;
  readonly key?: string | null;
  readonly facts: F;
};

export type ActType = keyof Acts;
export type Act = { [K in ActType]: Noted<K, Acts[K] & Asker> }[ActType];
export type AuditEvent = Act | { [K in keyof Happenings]: Noted<K, Happenings[K]> }[keyof Happenings];
export type SessionEvent = Extract<AuditEvent, { type: `session.${string}` }>;
export type KeyEvent = Extract<AuditEvent, { type: `key.${string}` }>;

/** An event as read back: the same names, but values of any type. */
export type Read<E extends AuditEvent> = E extends AuditEvent
  ? { readonly type: E["type"]; readonly facts: { readonly [F in keyof E["facts"]]?: unknown } }
  : never;
