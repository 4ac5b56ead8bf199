import type { AbortSignalLike } from "../../src/core/cancel.ts";
import type { Call, ClientSession, IdentifiedCall, Reply, Route } from "../../src/core/call.ts";
import { Failure } from "../../src/core/failure.ts";
import type {
  ClientAnswer,
  ClientCapabilities,
  Era,
  Inbound,
  InputRequest,
  LogLevel,
  Revision,
} from "../../src/core/inbound.ts";
import type {
  Audit,
  Catalog,
  InputStep,
  Policy,
  TaskWatch,
  Upstreams,
  Listener,
  Updated,
} from "../../src/core/ports.ts";
import { emptyListing, type UpstreamRequest, type Listing } from "../../src/core/upstream.ts";
import type { Principal } from "../../src/core/principal.ts";
import { callOf } from "../../src/gateway/call.ts";
import type { Gateway } from "../../src/gateway/gateway.ts";
import { handle } from "../../src/gateway/handle.ts";
import { Parking, type ParkingLimits } from "../../src/gateway/input/parking.ts";
import { readInbound } from "../../src/mcp/classify.ts";
import { callParams } from "../../src/mcp/outbound.ts";
import { answerMessage, failureMessage } from "../../src/mcp/reply.ts";
import { policiesOptions } from "../../src/policy/options.ts";
import { createPolicy } from "../../src/policy/policy.ts";
import { Session } from "../../src/session/session.ts";
import { Backlog } from "../../src/session/streams.ts";
import { Traffic } from "../../src/session/traffic.ts";
import { loopback, makeTool, asBegun } from "../support/call.ts";
import { buildCatalog } from "../support/catalog.ts";
import { plainGateway, quietAudit, quietLimits, quietUpstreams } from "../support/gateway.ts";
import { principal, stillClock } from "../support/principal.ts";

/** A gateway whose ports are small fakes, and everything that tests check. */
export type Harness = ReturnType<typeof harness>;

/** Plays a server; `request` is what arrives there. */
type Script = (call: IdentifiedCall, request: UpstreamRequest, route: Route) => Reply | Promise<Reply>;

export type Options = {
  readonly script?: Script;
  readonly servers?: Record<string, Partial<Listing>>;
  /** Questions that are forbidden, as `server method`. */
  readonly denies?: readonly string[];
  readonly rules?: Record<string, Record<string, unknown>[]>;
  readonly parking?: ParkingLimits;
  /** The selections of each toolset. */
  readonly toolsets?: Record<string, string[]>;
  /** Set if no server sends the states of its tasks. */
  readonly silent?: boolean;
  readonly learnTools?: Upstreams["learnTools"];
};

export const alice = principal("key:alice", ["reader"]);
export const bob = principal("key:bob", ["reader"]);

export const ok = (text = '{"content":[]}', era: Era = "legacy"): Reply => ({
  kind: "result",
  era,
  text,
  isError: false,
  type: typeOf(text),
});

export const refused = (text: string, era: Era = "legacy"): Reply => {
  const { code } = JSON.parse(text) as { code: number };
  return { kind: "error", era, text, code };
};

function typeOf(text: string): string | null {
  const { resultType } = JSON.parse(text) as { resultType?: string };
  return resultType === undefined || resultType === "complete" ? null : resultType;
}

/** A policy without rules, which denies everything. */
export const allowsNothing: Policy = createPolicy({ rules: [], policies: [] });

/** What a server offers besides tools, by its name. */
export const item = (name: string) => ({ name, text: JSON.stringify({ name }) });

const offered = { tools: [makeTool("get")], capabilities: { tools: {} } };

export function harness(options: Options = {}) {
  const clock = stillClock();
  const records: Recorded[] = [];
  const sent: Sent[] = [];
  const told: string[] = [];
  const failing = { on: null as string | null };
  const { servers = { crm: offered } } = options;
  const listings = Object.entries(servers).map(([server, each]) => ({ ...emptyListing, server, ...each }));
  const policy = policyOf(options);
  const toolsets = Object.entries(options.toolsets ?? {}).map(([id, include]) => ({ id, include }));
  const catalog = replaceable(buildCatalog(servers, { policy, toolsets }));
  const subscribed = new Map<string, Updated>();
  const followed = new Set<TaskWatch>();
  const notifier = notifierOf();
  const upstreams: Upstreams = {
    ...quietUpstreams,
    ...(options.learnTools && { learnTools: options.learnTools }),
    async send(call, request) {
      const { route } = call;
      sent.push({ call, request, route });
      return (options.script ?? (() => ok()))(call, request, route);
    },
    subscribe({ who }, route, updated) {
      if (route.name.endsWith("unavailable")) return Promise.reject(new Failure("upstream-down", "It is down."));
      subscribed.set(`${who.id} ${route.name}`, updated);
      return Promise.resolve(() => void subscribed.delete(`${who.id} ${route.name}`));
    },
    followTasks(_call, watch) {
      if (options.silent) return Promise.reject(new Failure("upstream-down", "It tells nothing."));
      followed.add(watch);
      return Promise.resolve({ taskIds: new Set(watch.taskIds), end: () => void followed.delete(watch) });
    },
    notify: ({ who }, method) => void told.push(`${who.id} ${method}`),
    listings: () => listings,
  };
  let serial = 0;
  const gw = plainGateway({
    authn: {
      identify: ({ vouched }) => {
        if (vouched && !vouched.revoked.aborted) return vouched;
        throw new Failure("unauthenticated", "Who are you?");
      },
    },
    limits: { ...quietLimits, take: () => void taken.count++ },
    policy,
    inForce: () => current,
    catalog,
    upstreams,
    audit: auditOf(records, failing),
    metrics: { count: (call) => void counted.push(`${call.knownMethod} ${call.status}`) },
    notifier,
    parking: new Parking(options.parking),
    clock,
    nextId: () => `call-${++serial}`,
  });
  // The same gateway until a test changes a part of it, as a reload does.
  let current: Gateway = Object.create(gw);
  const inForce = new Proxy<{ -readonly [K in keyof Gateway]: Gateway[K] }>(gw, {
    get: (_, part) => Reflect.get(current, part),
    set: (_, part, value) => ((current = Object.assign(Object.create(current), { [part]: value })), true),
  });
  const taken = { count: 0 };
  const counted: string[] = [];
  return { gw, inForce, clock, records, sent, told, failing, subscribed, followed, notifier, taken, counted };
}

export type Sent = {
  readonly call: Call;
  readonly request: UpstreamRequest;
  readonly route: Route;
};
/** One record that the audit would have written. */
export type Recorded = {
  readonly type: string;
  readonly call: Call;
  readonly step?: InputStep;
  readonly facts?: object;
};

/** A notifier that notifies its listeners at once when a test reports a change. */
function notifierOf() {
  const members = new Set<Listener>();
  const told: string[] = [];
  return {
    told,
    get size() {
      return members.size;
    },
    join(listener: Listener) {
      members.add(listener);
      return () => void members.delete(listener);
    },
    served() {},
    reach: () => null,
    notify: (_session: ClientSession, method: string, params: string | null) => void told.push(`${method} ${params}`),
    changed(list: "tools" | "prompts" | "resources") {
      for (const { lists, send } of members) if (lists.has(list)) send(`notifications/${list}/list_changed`, null);
    },
  };
}

/** Records as the broker does; `failing.on` names the record or outcome that fails. */
function auditOf(records: Recorded[], failing: { on: string | null }): Audit {
  const write = async (type: string, record: Omit<Recorded, "type">): Promise<void> => {
    await Promise.resolve();
    if (failing.on === type || failing.on === record.step?.outcome)
      throw new Failure("audit-unavailable", "No log.", record.step ? { ran: "maybe" } : {});
    records.push({ type, ...record });
  };
  return {
    ...quietAudit,
    async begin(call) {
      await write("call.begin", { call });
      return asBegun(call);
    },
    async end(call) {
      if (call.recordedOnce) return;
      if (call.begun) await write("call.end", { call });
      else if (call.failure) await write("call.refused", { call });
    },
    async once(call, facts) {
      await write("call.end", { call, facts });
      call.recordedOnce = true;
    },
    input: (call, step) => write("call.input", { call, step }),
  };
}

/** Returns a catalog as an object of functions, which a test can copy and replace one by one. */
function replaceable(catalog: Catalog): Catalog {
  const names = Object.getOwnPropertyNames(Object.getPrototypeOf(catalog)).filter((name) => name !== "constructor");
  const bound = names.map((name) => [name, (Reflect.get(catalog, name) as () => void).bind(catalog)] as const);
  return Object.fromEntries(bound) as unknown as Catalog; // all its methods
}

function policyOf({ rules = { reader: [{ action: "allow" }] }, denies = [] }: Options): Policy {
  const policies = Object.entries(rules).map(([role, each]) => ({ id: role, roles: [role], rules: each }));
  return {
    ...createPolicy({ rules: [], policies: policiesOptions.parse(policies) }),
    admitsInput(_who, _source, server, method) {
      const denied = denies.includes(`${server} ${method}`);
      return { allowed: !denied, rule: denied ? "no-questions" : null, reason: denied ? "not here" : "fine" };
    },
  };
}

export type Asking = {
  readonly who?: Principal;
  readonly era?: Era;
  readonly id?: string;
  readonly capabilities?: Record<string, unknown>;
  readonly logLevel?: LogLevel;
  readonly session?: ClientSession | null;
  readonly scope?: string | null;
  readonly revision?: Revision;
  readonly controller?: AbortController;
  /** When it arrived, on the monotonic clock; absent: now. */
  readonly started?: number;
  readonly emit?: (notification: string) => void;
  readonly ask?: (request: InputRequest, signal: AbortSignalLike) => Promise<ClientAnswer>;
  readonly open?: () => Promise<ClientSession>;
};

/** A request as a transport would pass it to `handle`. */
export function request(gw: Gateway, method: string, params: object | string = {}, asking: Asking = {}): Call {
  const inbound = inboundOf(method, params, asking);
  const presented = { source: loopback, credentials: [], vouched: asking.who ?? alice };
  const carrier = { controller: new AbortController(), session: null, scope: null, emit: null, ...asking };
  return callOf(gw, { inbound, fault: null }, presented, carrier);
}

function inboundOf(method: string, params: object | string, asking: Asking): Inbound {
  const { era = "modern", id = "1", capabilities, logLevel = null, revision = "2025-11-25" } = asking;
  const text = typeof params === "string" ? params : JSON.stringify(params);
  const inbound = readInbound(`{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${text}}`, limits, {
    headers: null,
    pinned: "legacy",
    revision,
  });
  const declared: ClientCapabilities | null = capabilities
    ? { text: JSON.stringify(capabilities), value: capabilities }
    : null;
  return { ...inbound, era, revision: era === "modern" ? "2026-07-28" : revision, capabilities: declared, logLevel };
}

const limits = { depth: 64, nodes: 100_000 };

export type Answered = {
  readonly call: Call;
  readonly result: Record<string, unknown>;
  readonly error: { readonly code: number; readonly message: string; readonly data?: Record<string, unknown> };
};

/** Sends a request through `handle`; resolves with the message for its caller. */
export async function send(gw: Gateway, method: string, params?: object | string, asking?: Asking): Promise<Answered> {
  return answered(gw, request(gw, method, params, asking));
}

async function answered(gw: Gateway, call: Call): Promise<Answered> {
  await handle(gw, call);
  const { inbound, reply, failure } = call;
  const text = failure
    ? failureMessage(failure, inbound, gw.identity)
    : reply && answerMessage(inbound, reply, gw.identity, call.route?.wire ?? null);
  return { call, ...(JSON.parse(text ?? "{}") as Pick<Answered, "result" | "error">) };
}

/** The parameters of a sent call as a server of this era receives them. */
export function received({ call, request }: Sent, era: Era): Record<string, unknown> {
  const revision = era === "modern" ? "2026-07-28" : "2025-11-25";
  const client = { name: "mcpgw", version: "9" };
  const to = {
    edits: request.edits,
    era,
    revision,
    progressToken: null,
    logLevel: null,
    client,
    capabilities: "{}",
  } as const;
  return JSON.parse(callParams(call.inbound, to)) as Record<string, unknown>;
}

/** The recorded outcome of each question: `asked elicitation/create` …. */
export const steps = (records: readonly Recorded[]): string[] =>
  records.flatMap(({ step }) => (step ? [`${step.outcome} ${step.request.method}`] : []));

export const types = (records: readonly Recorded[]): string[] => records.map(({ type }) => type);

/** A legacy session. */
export function session(owner: Principal, capabilities: Record<string, unknown> = {}): Session {
  return new Session({
    who: owner,
    revision: "2025-11-25",
    capabilities: { text: JSON.stringify(capabilities), value: capabilities },
    scope: null,
    backlog: new Backlog(),
    traffic: new Traffic(),
    now: 0,
  });
}
