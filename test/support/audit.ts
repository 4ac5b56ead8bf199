import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { AuditBroker } from "../../src/audit/broker.ts";
import { type EvidenceOptions, gatherEvidence } from "../../src/audit/evidence.ts";
import { type OpenAuditOptions, openAudit } from "../../src/audit/open.ts";
import { type AuditOptions, auditOptions } from "../../src/audit/options.ts";
import { readRecord, type Recorded } from "../../src/audit/record.ts";
import { loadSigningKey } from "../../src/audit/signing-key.ts";
import { type ChainReport, verifyChain } from "../../src/audit/verify.ts";
import { Cancel } from "../../src/core/cancel.ts";
import { type Call, type IdentifiedCall, setCaller } from "../../src/core/call.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { AuditEvent } from "../../src/core/event.ts";
import type { Failure } from "../../src/core/failure.ts";
import { silent } from "../../src/core/log.ts";
import type { AuditStore } from "../../src/core/store.ts";
import { createUlid } from "../../src/gateway/ulid.ts";
import { openChain } from "../../src/store/sqlite/chain.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { loopback, makeCall, makeInbound, makeRoute } from "./call.ts";
import { principal } from "./principal.ts";
import { TempDir } from "./temp-dir.ts";

const nextId = createUlid(Date.now);

/** Creates a temporary directory with a state directory and a heads directory; it is removed when the scope ends. */
export function tempState() {
  const at = new TempDir();
  const state = at.path("state");
  mkdirSync(join(state, "audit"), { recursive: true, mode: 0o700 });
  return {
    root: at.dir,
    state,
    heads: at.path("heads"),
    db: (chain = "main") => join(state, "audit", `${chain}.db`),
    [Symbol.dispose]: () => at[Symbol.dispose](),
  };
}
export type TempState = ReturnType<typeof tempState>;

export type Opened = {
  broker: AuditBroker;
  store: AuditStore;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

/** Opens a chain and its broker on a state directory as the daemon does. */
export async function openBroker(
  at: TempState,
  options: Partial<AuditOptions> = {},
  { chain = "main", ...more }: Partial<OpenAuditOptions> & { readonly chain?: string } = {},
): Promise<Opened> {
  const store = more.store ?? openChain(at.db(chain));
  const keyPair = await loadSigningKey(join(at.state, "signing.key"));
  let open = true;
  try {
    const broker = await openAudit({
      store,
      config: { ...auditOptions.parse({ durability: "relaxed" }), ...options },
      clock: systemClock,
      log: silent,
      stamp: { chain, boot: nextId(), node: "test", ver: "0.0.0" },
      keyPair,
      headsDir: at.heads,
      secrets: () => [],
      tick: 20,
      fatal: (reason) => {
        throw new Error(`fatal: ${reason}`);
      },
      ...more,
    });
    const close = async (): Promise<void> => {
      if (!open) return;
      open = false;
      await broker.close();
      store[Symbol.dispose]();
    };
    return { broker, store, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    store[Symbol.dispose]();
    throw error;
  }
}

/** Returns a chain's store with a faulty disk: `append` throws `full` if set; `sync`, if set, replaces the real one. */
export function faultyStore(at: TempState): {
  readonly store: AuditStore;
  full: Error | null;
  sync: ((real: () => Promise<void>) => Promise<void>) | null;
} {
  const real = openChain(at.db());
  const faulty: ReturnType<typeof faultyStore> = {
    store: {
      ...real,
      append(rows, subjects) {
        if (faulty.full) throw faulty.full;
        real.append(rows, subjects);
      },
      sync: () => (faulty.sync ? faulty.sync(() => real.sync()) : real.sync()),
    },
    full: null,
    sync: null,
  };
  return faulty;
}

/** Opens a chain and its broker in a temporary directory; its disk can be made to fail. */
export async function openLog(options: Partial<AuditOptions> = {}, more: Partial<OpenAuditOptions> = {}) {
  await using held = new AsyncDisposableStack();
  const at = held.use(tempState());
  const faulty = faultyStore(at);
  const opened = held.use(await openBroker(at, options, { store: faulty.store, ...more }));
  const all = held.move();
  return { ...at, ...opened, faulty, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

type Arriving = { args?: string; id?: string; ip?: string };
export type CallLike = Arriving & { consumer?: string; server?: string; tool?: string };

/** Returns a tools/call as it arrives, before its caller is known. */
export function arriving({ args = '{"id":1}', id = nextId(), ip }: Arriving = {}): Call {
  const text = `{"arguments":${args}}`;
  const spans = { params: [0, text.length], arguments: [13, 13 + args.length] } as const;
  return makeCall({
    id,
    at: Date.now() * 1000,
    started: systemClock.mono(),
    inbound: { ...makeInbound({}, "tools/call"), text, spans },
    source: ip === undefined ? loopback : { ...loopback, ip, loopback: false },
  });
}

/** Returns a tools/call in its state when its intent is recorded. */
export function callOf({ consumer = "agent", server = "crm", tool = "query", ...rest }: CallLike = {}): IdentifiedCall {
  const call = arriving(rest);
  setCaller(call, { ...principal(`key:${consumer}-1`), consumerId: consumer });
  call.target = `${server}:${tool}`;
  call.route = makeRoute(server, tool);
  call.policy = "ab".repeat(32);
  call.verdict = { rule: "reader-policy#1", reason: "allowed by reader-policy" };
  return call;
}

/** Marks the call as answered and returns it. */
export function answered(call: Call, text = '{"content":[]}', took = 1500): Call {
  call.reply = { kind: "result", era: "modern", text, isError: false, type: null };
  call.took = took;
  return call;
}

/** Marks the call as refused or failed and returns it. */
export function failed(call: Call, failure: Failure, took = 20): Call {
  call.failure = failure;
  call.took = took;
  return call;
}

/** Records the begin and the end of one answered call. */
export async function runCall(broker: AuditBroker, like: CallLike = {}, result?: string): Promise<Call> {
  const call = callOf(like);
  await broker.begin(call);
  await broker.end(answered(call, result));
  return call;
}

/** Opens a chain as `openBroker` does, records a call and closes it. */
export async function recordCall(...given: Parameters<typeof openBroker>): Promise<void> {
  await using opened = await openBroker(...given);
  await runCall(opened.broker);
}

/** Returns all records of the chain "main". */
export function recordsOf({ state }: Pick<TempState, "state">): Recorded[] {
  using reader = openReader({ state, main: null });
  return reader.page("main", 1, 1e6).map(({ rec }) => readRecord(rec));
}

/** Returns the call records of the chain "main". */
export const callsIn = (at: Pick<TempState, "state">): Recorded[] =>
  recordsOf(at).filter(({ type }) => type.startsWith("call."));

/** An arbitrary event. */
export const note: AuditEvent = { type: "server.stopped", actor: "system", facts: { server: "s", pid: 1 } };

/** Returns the directory with the verification data of a state directory's only installation. */
export const outsideOf = ({ heads }: Pick<TempState, "heads">): string => join(heads, readdirSync(heads)[0] ?? "");

/** Returns a clock that runs in real time; `advance` moves all of it, `step` only the wall clock. */
export function handClock() {
  let offset = 0;
  let set = 0;
  return {
    now: () => Date.now() * 1000 + offset + set,
    mono: () => Math.round(performance.now() * 1000) + offset,
    advance: (us: number) => void (offset += us),
    step: (us: number) => void (set += us),
  };
}

/** Returns what `audit verify` reports for the chain "main", using the evidence in `dir` and in `given`. */
export async function verifyAt(
  at: { readonly state: string; readonly dir: string | null },
  given: Partial<EvidenceOptions> = {},
): Promise<ChainReport> {
  const { optionsFor } = await gatherEvidence({ dir: at.dir, sources: [], ...given });
  using reader = openReader({ state: at.state, main: null });
  return await verifyChain(reader, await optionsFor("main"), new Cancel());
}
