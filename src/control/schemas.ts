import { z } from "zod";
import { groupNames } from "../core/failure.ts";
import { revisions } from "../core/inbound.ts";
import { type ServerStatus, serverStates, transports } from "../core/upstream.ts";
import { verifyExit } from "../core/verify-exit.ts";
import { namedKinds, wrongStatus, wrongRecordType } from "./filters.ts";
import { parseSince, sinceHelp, wrongTime } from "./since.ts";

// The inputs and outputs of operations. Inputs are strict: an unknown member is an error.

const epochMs = z.number().int().describe("epoch ms");
const count = z.number().int().nonnegative();
const facts = z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]));

/** A duration such as `2h` ago, or an ISO time; parsed to epoch µs. */
const since = z.string().transform((text, ctx) => {
  const at = parseSince(text, Date.now());
  if (at !== null) return at;
  ctx.addIssue({ code: "custom", message: wrongTime(text) });
  return z.NEVER;
});

/** Returns a refinement that refuses a text with the message of `wrong`, unless that is null. */
const unless = (wrong: (text: string) => string | null) => (text: string, ctx: z.RefinementCtx<string>) => {
  const message = wrong(text);
  if (message !== null) ctx.addIssue({ code: "custom", message });
};

/** False if the change is in effect but could not be stored or recorded yet; the gateway keeps trying. */
export const recorded = z.boolean();

export const nothing = z.strictObject({});
export const byId = z.strictObject({ id: z.string().min(1).max(64) });

/** The filters of `tail` and `audit.log`; other operations take only `since`. */
export const selection = {
  consumer: z.string().max(64).optional().describe("records of this consumer"),
  server: z.string().max(64).optional().describe("records of this server"),
  tool: z.string().max(300).optional().describe("records of this tool, by its own name or as server:tool"),
  status: z
    .string()
    .max(40)
    .superRefine(unless(wrongStatus))
    .optional()
    .describe(`a status, or one of the groups ${groupNames.join(", ")}`),
  since: since.optional().describe(sinceHelp),
};
export const recordType = z
  .string()
  .max(40)
  .superRefine(unless(wrongRecordType))
  .optional()
  .describe("a record type such as call.end, or a prefix of one followed by *");
export const until = since.optional().describe("end of the time range: 30m, 2h or 7d ago, or a date or time");

export const auditEntry = z.object({
  chain: z.string(),
  seq: count,
  at: z.number().int().describe("epoch µs, as in the record"),
  type: z.string(),
  call: z.string().nullable(),
  caller: z.string().nullable().describe("principal id; `system` is the gateway itself"),
  consumer: z.string().nullable(),
  method: z.string().nullable().describe("the method that was called, in records of calls"),
  server: z.string().nullable(),
  tool: z.string().nullable(),
  status: z.string().nullable(),
  us: count.nullable().describe("duration, µs"),
  rule: z.string().nullable(),
  reason: z.string().nullable(),
  /** Details of records that are not about calls. */
  facts,
});
export type AuditEntry = z.output<typeof auditEntry>;

/** Evidence in a record itself that the record or its payload was changed; null if there is none. */
export const fault = z.string().nullable();

/** The stored payloads of one record; null unless requested. */
export const payloads = z.array(z.object({ part: z.enum(["args", "result"]), body: z.string() })).nullable();

export const serverStatus = z.object({
  id: z.string(),
  name: z.string(),
  transport: z.enum(transports),
  state: z.enum(serverStates),
  era: z.enum(["legacy", "modern"]).nullable(),
  revision: z
    .string()
    .nullable()
    .describe(`protocol revision, one of ${revisions.join(", ")}`),
  instances: count.describe("instances that serve callers"),
  pids: z.array(count).readonly().describe("all processes of the server"),
  ownPid: count
    .nullable()
    .describe("the process among them that serves no caller; the gateway uses it for listing and health checks"),
  tools: count,
  restarts: count,
  inFlight: count,
  reason: z
    .string()
    .nullable()
    .describe(
      "why the server is not ready, which instances of a ready server are down, or which of its lists are incomplete",
    ),
  down: z
    .array(z.object({ owner: z.string().nullable(), reason: z.string(), until: epochMs, open: z.boolean() }))
    .readonly()
    .describe("instances of callers that ended unexpectedly and have not been started again"),
  listedAt: epochMs.nullable(),
  sandbox: z.literal("none"),
  dropped: count.describe("messages without a matching request: late, foreign or unsolicited"),
  streams: count.describe("open streams other than calls"),
  subscriptions: count.describe("resources with at least one subscriber"),
}) satisfies z.ZodType<ServerStatus>;

export const toolView = z.object({
  name: z.string().describe("`server:tool`"),
  wire: z.string().describe("the name that MCP clients see"),
  server: z.string(),
  description: z.string().nullable(),
  hidden: z.string().nullable().describe("why it is not offered; null if it is"),
});
export type ToolView = z.output<typeof toolView>;

export const serverTool = toolView.extend({
  unchecked: z.array(z.string()).readonly().describe("patterns in its schema that arguments are not checked against"),
});
export type ServerTool = z.output<typeof serverTool>;

const reasons = z.array(z.object({ kind: z.string(), name: z.string(), reason: z.string() })).readonly();
export type Reasons = z.output<typeof reasons>;

/** What a server has in addition to tools, and which of these are not offered. */
export const otherThings = z.object({
  prompts: count,
  resources: count,
  templates: count,
  hidden: reasons,
});

/** Items that are not offered as their server defined them: reasons for the first ones, and how many more exist. */
export const leftOut = z.object({ first: reasons, more: count });
export type LeftOut = z.output<typeof leftOut>;

export const whyInput = z.strictObject({
  who: z.string().min(1).max(200).describe("a key id or a consumer"),
  target: z.string().min(1).max(2000).describe("server:tool, server:prompt, a wire name or a URI"),
  kind: z.enum(namedKinds).optional(),
  arguments: z.record(z.string(), z.unknown()).default({}),
});

export const why = z.object({
  kind: z.enum(namedKinds).nullable(),
  name: z.string().describe("`server:name`, or the requested name if it does not exist"),
  wire: z.string().nullable().describe("the name or URI that MCP clients see"),
  missing: z.string().nullable().describe("why it is offered to nobody; null if it is offered"),
  down: z.string().nullable().describe("why calls currently fail although it is offered; null if they do not"),
  /** How each toolset offers it. */
  toolsets: z
    .array(
      z.object({
        id: z.string(),
        wire: z
          .string()
          .nullable()
          .describe("the name or URI that clients of the toolset's endpoint see; null if there is none"),
        missing: z.string().nullable().describe("why the toolset does not offer it; null if it does"),
      }),
    )
    .readonly(),
  /** Each key of the consumer, and each other identity that it may call with. */
  callers: z
    .array(
      z.object({
        id: z.string().describe("principal id"),
        consumer: z.string(),
        roles: z.array(z.string()).readonly(),
        refused: z
          .string()
          .nullable()
          .describe("why the caller is refused before policy is evaluated; null if it is not"),
        listed: z.boolean().describe("whether it appears in this caller's lists"),
        allowed: z.boolean().describe("whether a call with these arguments is allowed"),
        rule: z.string().nullable(),
        reason: z.string(),
        remedy: z.string().nullable().describe("what the refusal advises the caller to change; null if nothing"),
        elsewhere: z.boolean().describe("whether a call from some source, which is not known here, may be allowed"),
      }),
    )
    .readonly(),
});

export const keyView = z.object({
  id: z.string(),
  name: z.string(),
  consumerId: z.string(),
  roles: z.array(z.string()).readonly(),
  source: z.enum(["store", "config"]),
  state: z.enum(["active", "disabled", "expired", "revoked"]),
  expiresAt: epochMs.nullable(),
  perMinute: z.number().nullable(),
  cidrs: z.array(z.string()).readonly(),
  createdAt: epochMs.nullable(),
  lastUsedAt: epochMs
    .nullable()
    .describe("approximate: up to an hour too early after a restart; null if no use is known"),
});
export type KeyView = z.output<typeof keyView>;

/** A new key; this is the only answer that shows it. */
export const newKey = z.object({
  id: z.string(),
  key: z.string().describe("secret"),
  name: z.string(),
  consumerId: z.string(),
  roles: z.array(z.string()).readonly(),
  expiresAt: epochMs.nullable(),
  cidrs: z.array(z.string()).readonly(),
  perMinute: z.number().nullable(),
  idleRoles: z.array(z.string()).readonly().describe("roles of the key that no policy names"),
  frozen: z.boolean().describe("whether all callers, including this key, are refused until a freeze ends"),
});

const counters = {
  calls: count,
  errors: count,
  denied: count.describe("refused by the gateway: by policy, credential or rate limit"),
};

/** The usage of one group: a consumer, a server, a `server:tool`, a server tag, a day or an hour (UTC). */
export const usageLine = z.object({
  name: z.string(),
  ...counters,
  latencySumUs: count.describe("sum of the durations of all calls, µs"),
  bytesIn: count,
  bytesOut: count,
});
export type UsageLine = z.output<typeof usageLine>;

const tally = z.object({ name: z.string(), ...counters });

export const unread = z
  .array(z.string())
  .readonly()
  .optional()
  .describe("chains that cannot be read completely, so that some of their records are missing");

export const auditStats = z.object({
  chains: z.array(z.object({ chain: z.string(), records: count })),
  unread,
  byType: z.record(z.string(), count),
  byStatus: z.record(z.string(), count),
  consumers: z.array(tally),
  servers: z.array(tally),
  tools: z.array(tally),
});

const chainReport = z.object({
  chain: z.string(),
  records: count.describe("number of records checked; there may be more if a fault was found"),
  first: count.describe("the first record checked; greater than 1 if only part of a chain was checked"),
  exit: z.literal(Object.values(verifyExit)),
  /** The first faulty record, and its fault. */
  bad: z.object({ seq: count.nullable(), kind: z.string(), detail: z.string() }).nullable(),
  checkpoint: z
    .object({
      source: z.string().describe("file or URL that it came from"),
      size: count,
      at: epochMs.nullable().describe("time of the signature; null if unknown"),
      after: count.describe("records after the checkpoint, which it does not prove"),
      /** Whether the file it was read from is on this host; where a given checkpoint was kept before is unknown. */
      sameHost: z.boolean(),
    })
    .nullable(),
  notes: z.array(z.string()).readonly().describe("why the evidence is incomplete, and which parts of it prove nothing"),
});

export const verifyReport = z.object({
  exit: chainReport.shape.exit,
  chains: z.array(chainReport),
  /** File of the public key that the checkpoints were checked with; null if the key was given or is not in a file. */
  pubkey: z.string().nullable(),
});
export type VerifyReport = z.output<typeof verifyReport>;

export const status = z.object({
  version: z.string(),
  pid: count,
  state: z.enum(["starting", "ready", "draining"]),
  notReady: z.string().nullable().describe("why /ready reports not-ready; null if it reports ready"),
  waitsFor: z.array(z.string()).readonly().describe("servers that must start before the gateway is ready"),
  startedAt: epochMs,
  listen: z.array(z.string()).readonly().describe("URLs of the MCP listeners"),
  config: z.string().nullable(),
  stateDir: z.string(),
  auth: z.string(),
  frozen: z.boolean().describe("whether every caller is refused"),
  limits: z.string(),
  audit: z.object({
    chain: z.string(),
    records: count,
    durable: count,
    durability: z.string(),
    payloads: z.string(),
    onFailure: z.string(),
    checkpoint: z.object({ source: z.string(), size: count, at: epochMs }).nullable(),
  }),
  servers: z.array(serverStatus).readonly(),
  sandbox: z.literal("none"),
  /** Warnings for operators, such as a less secure mode, a placeholder key or a file that was not reloaded. */
  warnings: z.array(z.string()).readonly(),
});

export const consumer = z.object({
  consumer: z.string(),
  roles: z.array(z.string()).readonly(),
  keys: count.describe("active keys"),
  inFlight: count,
  calls: counters.calls.nullable().describe("in the last day; null if calls are not counted"),
  errors: counters.errors.nullable(),
  denied: counters.denied.nullable(),
});
export type ConsumerView = z.output<typeof consumer>;
