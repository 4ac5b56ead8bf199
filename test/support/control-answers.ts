import type { Answer } from "../../src/control/api.ts";
import {
  type AuditEntry,
  type ConsumerView,
  type KeyView,
  type LeftOut,
  type ServerTool,
  toolView,
} from "../../src/control/schemas.ts";
import type { Handlers } from "../../src/control/contract.ts";
import type { ServerStatus } from "../../src/core/upstream.ts";
import { serverStatus } from "./server-status.ts";

type Why = Answer<"why">;

export type Overrides = Partial<Handlers>;

/** 2026-03-01 12:00:00 UTC. */
const noon = Date.UTC(2026, 2, 1, 12);

export function entry(over: Partial<AuditEntry> = {}): AuditEntry {
  const seq = over.seq ?? 1;
  return {
    chain: "main",
    seq,
    at: (noon + seq * 1_000) * 1_000,
    type: "call.end",
    call: `01HX${seq}`,
    caller: "key:key-1",
    consumer: "agent-prod",
    method: "tools/call",
    server: "files",
    tool: "read_file",
    status: "ok",
    us: 1_234,
    rule: "reader-policy/1",
    reason: null,
    facts: {},
    ...over,
  };
}

/** Records of every kind that a screen must show, including hostile text. */
export const records: AuditEntry[] = [
  entry({ seq: 1 }),
  entry({ seq: 2, server: "crm", tool: "query_customers", us: 84_210, status: "tool_error" }),
  entry({
    seq: 3,
    type: "call.refused",
    consumer: "intern-bot",
    caller: "key:key-2",
    tool: "delete_file",
    status: "denied",
    us: 210,
    rule: "no-delete",
    reason: "files are never deleted",
  }),
  entry({
    seq: 4,
    type: "call.refused",
    tool: "x\u001b[2J\u001b[31mred\nline",
    status: "invalid",
    rule: null,
    reason: "args.path: expected string",
  }),
  entry({ seq: 5, us: 2_400_000, status: "timeout" }),
  entry({
    seq: 6,
    type: "key.created",
    call: null,
    caller: "local:1000",
    consumer: null,
    method: null,
    server: null,
    tool: null,
    status: null,
    us: null,
    rule: null,
    facts: { id: "key-3", consumerId: "agent-dev" },
  }),
];

const server = (over: Partial<ServerStatus> = {}): ServerStatus =>
  serverStatus("files", {
    name: "Files",
    era: "legacy",
    revision: "2025-11-25",
    instances: 1,
    pids: [4711, 4720],
    ownPid: 4711,
    tools: 11,
    listedAt: noon,
    ...over,
  });

const servers: ServerStatus[] = [
  server(),
  server({
    id: "crm",
    name: "CRM",
    transport: "http",
    era: "modern",
    revision: "2026-07-28",
    pids: [],
    ownPid: null,
    tools: 4,
    restarts: 7,
    inFlight: 2,
    reason: "one caller's instance is down until 2026-03-01T12:01:00.000Z: exited with 1",
    down: [{ owner: "key:key-2", reason: "exited with 1", until: noon + 60_000, open: true }],
  }),
  serverStatus("broken", {
    name: "Broken",
    state: "backoff",
    restarts: 3,
    reason: "exited with 1: cannot find module \u001b[31mx",
  }),
];

const status: Answer<"status"> = {
  version: "1.2.3",
  pid: 4242,
  state: "ready",
  notReady: null,
  waitsFor: [],
  startedAt: noon,
  listen: ["http://127.0.0.1:7332/mcp"],
  config: "/etc/mcpgw/gateway.yaml",
  stateDir: "/var/lib/mcpgw",
  auth: "api-key",
  frozen: false,
  limits: "60/m per consumer",
  audit: {
    chain: "main",
    records: 1_234,
    durable: 1_234,
    durability: "strict",
    payloads: "redacted",
    onFailure: "deny",
    checkpoint: { source: "/var/lib/mcpgw-heads/a1/main.checkpoints", size: 1_200, at: noon },
  },
  servers,
  sandbox: "none",
  warnings: ["key demo\u001b[2J is a placeholder and does nothing"],
};

const key: KeyView = {
  id: "key-1",
  name: "Production Agent",
  consumerId: "agent-prod",
  roles: ["reader"],
  source: "store",
  state: "active",
  expiresAt: noon + 90 * 86_400_000,
  perMinute: 120,
  cidrs: [],
  createdAt: noon,
  lastUsedAt: noon,
};

const made: Answer<"keys.create"> = {
  id: "key-3",
  key: "mcpgw_0123456789abcdef",
  name: "Dev",
  consumerId: "agent-dev",
  roles: ["reader", "writer"],
  expiresAt: null,
  cidrs: ["10.0.0.0/8"],
  perMinute: 90,
  idleRoles: ["writer"],
  frozen: false,
};

const tools: ServerTool[] = [
  {
    name: "files:read_file",
    wire: "files__read_file",
    server: "files",
    description: "Reads a file.\nSecond line.",
    hidden: null,
    unchecked: ["^(?=x)x+$"],
  },
  {
    name: "files:bad tool",
    wire: "files__bad_tool_1a2b3c",
    server: "files",
    description: null,
    hidden: "its schema cannot be compiled",
    unchecked: [],
  },
];

const consumers: ConsumerView[] = [
  { consumer: "agent-prod", roles: ["reader"], keys: 1, inFlight: 2, calls: 1_204, errors: 3, denied: 0 },
  { consumer: "intern-bot", roles: ["reader", "intern"], keys: 2, inFlight: 0, calls: 17, errors: 0, denied: 9 },
];

const others: Answer<"servers.show">["others"] = {
  prompts: 2,
  resources: 14,
  templates: 1,
  hidden: [{ kind: "prompt", name: "files:Read\u001b[31m", reason: "its name cannot be told from that of files:read" }],
};

const leftOut: LeftOut = {
  first: [{ kind: "tool", name: "files:read_file", reason: "its icons[0].sizes is not a list of strings\u001b[31m" }],
  more: 1_200,
};

const granted = (who: string, kind: NonNullable<Why["kind"]>): Why => ({
  kind,
  name: "files:read_file",
  wire: "files__read_file",
  missing: null,
  down: "server files is down: exited with 1\u001b[31m; it was last listed at 2026-03-01T12:00:00.000Z",
  toolsets: [
    { id: "desk", wire: "open\u001b[31m", missing: null },
    { id: "twins", wire: null, missing: "it is not included" },
  ],
  callers: [
    {
      id: "key:key-1",
      consumer: who,
      roles: ["reader"],
      refused: null,
      listed: true,
      allowed: who === "agent-prod",
      rule: "reader-policy[0]",
      reason: who === "agent-prod" ? "allowed" : "only your own customer",
      remedy: who === "agent-prod" ? null : 'Calls are allowed if args.of eq "\u001b[31m".',
      elsewhere: false,
    },
    {
      id: "key:key-2",
      consumer: who,
      roles: ["reader", "writer"],
      refused: "the key is expired as of 2026-02-01T00:00:00.000Z",
      listed: true,
      allowed: false,
      rule: "reader-policy[0]",
      reason: "allowed",
      remedy: null,
      elsewhere: false,
    },
  ],
});

const absent = (who: string, name: string): Why => {
  const [first] = granted(who, "tool").callers;
  const nothing = { listed: false, allowed: false, rule: null, reason: "no caller is offered it", remedy: null };
  return {
    kind: null,
    name,
    wire: null,
    missing: "server files offers no such thing",
    down: null,
    toolsets: [],
    callers: first ? [{ ...first, ...nothing }] : [],
  };
};

/** Returns the text of an entry's record, with the members that have other names in the entry under their own names. */
function recordOf({ at, server, status, ...same }: AuditEntry): string {
  return JSON.stringify({ ...same, srv: server, st: status, t: new Date(at / 1_000).toISOString(), v: 1 });
}

/** Handlers that answer with fixed, recorded data. */
export function sampleHandlers(over: Overrides = {}): Handlers {
  const find = (id: string) => servers.find((one) => one.id === id) ?? server({ id });
  return {
    status: () => status,
    async *tail() {
      yield* records;
    },
    "keys.create": () => made,
    "keys.list": () => ({
      frozen: false,
      keys: [
        key,
        {
          ...key,
          id: "yaml-1",
          source: "config",
          state: "expired",
          perMinute: null,
          cidrs: ["10.0.0.0/8", "::1/128"],
          createdAt: null,
          lastUsedAt: null,
        },
      ],
    }),
    "keys.revoke": ({ id }) => ({ id, recorded: true }),
    "keys.rotate": () => made,
    "keys.freeze": () => ({ frozen: true, recorded: true }),
    "keys.unfreeze": () => ({ frozen: false, recorded: true }),
    "servers.list": () => ({ servers }),
    "servers.show": ({ id }) => ({ server: find(id), tools, others, leftOut }),
    "servers.restart": ({ id }) => ({ facts: { server: id }, run: () => ({ server: find(id) }) }),
    "servers.logs": ({ id }) => ({ lines: id === "crm" ? [] : ["started", "listening on \u001b[31mstdio"] }),
    async *"servers.follow"() {
      yield { line: "started" };
      yield { line: "listening on \u001b[31mstdio" };
    },
    "tools.list": () => ({ tools: tools.map((tool) => toolView.parse(tool)) }),
    "tools.call": ({ arguments: args }) => ({
      call: "01HX9",
      status: "ok",
      result: JSON.stringify({ content: [{ type: "text", text: args }] }),
      error: null,
    }),
    "audit.log": ({ limit, consumer, server, tool }) => {
      const isMeant = (one: AuditEntry): boolean =>
        [one.consumer, undefined].includes(consumer) &&
        [one.server, undefined].includes(server) &&
        [one.tool, undefined].includes(tool);
      const found = records.filter(isMeant);
      return { records: found.toReversed().slice(0, limit), more: found.length > limit };
    },
    "audit.show": ({ seq, chain, payloads }) => ({
      facts: { seq, chain },
      run: () => ({
        entry: records.find((one) => one.seq === seq) ?? entry({ seq }),
        rec: recordOf(records.find((one) => one.seq === seq) ?? entry({ seq })),
        leaf: "ab".repeat(32),
        payloads: payloads ? [{ part: "args", body: '{"path":"/etc/hosts"}' }] : null,
        fault: null,
        begin: null,
        source: payloads ? { src: "http:~q1w2e3", address: "192.0.2.7" } : null,
      }),
    }),
    "audit.stats": () => ({
      chains: [{ chain: "main", records: 6 }],
      byType: { "call.end": 3, "call.refused": 2, "key.created": 1 },
      byStatus: { ok: 1, tool_error: 1, denied: 1, invalid: 1, timeout: 1 },
      consumers: [
        { name: "agent-prod", calls: 4, errors: 3, denied: 0 },
        { name: "(none)", calls: 1, errors: 0, denied: 1 },
      ],
      servers: [
        { name: "files", calls: 4, errors: 3, denied: 0 },
        { name: "(none)", calls: 1, errors: 0, denied: 1 },
      ],
      tools: [
        { name: "files:read_file", calls: 2, errors: 1, denied: 0 },
        { name: "files:(resource)", calls: 2, errors: 2, denied: 0 },
        { name: "(none)", calls: 1, errors: 0, denied: 1 },
      ],
    }),
    "audit.verify": () => ({
      exit: 0,
      chains: [
        {
          chain: "main",
          records: 1_234,
          first: 1,
          exit: 0,
          bad: null,
          checkpoint: { source: "/mnt/evidence/main.checkpoints", size: 1_200, at: noon, after: 34, sameHost: false },
          notes: [],
        },
      ],
      pubkey: "/var/lib/mcpgw-heads/a1/signing.pub",
    }),
    "audit.export": () => ({
      facts: { chains: "main" },
      async *run() {
        yield '{"rec":"{}","leaf":"ab"}';
      },
    }),
    usage: ({ by, consumer }) => ({
      metered: true,
      ...(by === "tag" && { overlap: true }),
      rows: [
        {
          name: by === "day" ? "2026-03-01" : by === "tag" ? "eu\u001b[31m" : "agent-prod",
          calls: 1_204,
          errors: 3,
          denied: 9,
          latencySumUs: 9_000_000,
          bytesIn: 20_480,
          bytesOut: 1_048_576,
        },
      ].filter(({ name }) => consumer === undefined || consumer === name),
    }),
    why: ({ who, target, kind }) => (target.endsWith(":gone") ? absent(who, target) : granted(who, kind ?? "tool")),
    "config.show": () => ({
      file: "/etc/mcpgw/gateway.yaml",
      loadedAt: noon,
      config: { listen: { http: "127.0.0.1:7332" } },
    }),
    "config.reload": () => ({
      facts: {},
      run: () => ({ file: "/etc/mcpgw/gateway.yaml", changed: true, warnings: [] }),
    }),
    consumers: () => ({ consumers }),
    recordAct: async () => {},
    attach: () => {},
    ...over,
  };
}
