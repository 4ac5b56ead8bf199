import { z } from "zod";
import { groupNames } from "../core/failure.ts";
import { revisions } from "../core/inbound.ts";
import { type ServerStatus, serverStates, transports } from "../core/upstream.ts";
import { verifyExit } from "../core/verify-exit.ts";
import { namedKinds, wrongStatus, wrongRecordType } from "./filters.ts";
import { parseSince, sinceHelp, wrongTime } from "./since.ts";

// The values that operations exchange. Inputs are strict: an unknown member is an error, never ignored.

const epochMs = z.number().int().describe("epoch ms");
const count = z.number().int().nonnegative();
const facts = z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]));

/** A duration such as `2h` ago, or an ISO time; yields epoch µs. */
const since = z.string().transform((text, ctx) => {
  const at = parseSince(text, Date.now());
  if (at !== null) return at;
  ctx.addIssue({ code: "custom", message: wrongTime(text) });
  return z.NEVER;
});

/** Refuses, in its words, a text that something is wrong with. */
const unless = (wrong: (text: string) => string | null) => (text: string, ctx: z.RefinementCtx<string>) => {
  const message = wrong(text);
  if (message !== null) ctx.addIssue({ code: "custom", message });
};

/** False if the change is in force but could not be stored or recorded yet; the gateway keeps trying. */
export const recorded = z.boolean();

export const nothing = z.strictObject({});
export const byId = z.strictObject({ id: z.string().min(1).max(64) });

/** The filters of records, of `tail` and `audit.log`; other operations take `since` alone. */
export const selection = {
  consumer: z.string().max(64).optional().describe("records of this consumer"),
  server: z.string().max(64).optional().describe("records of this server"),
  tool: z.string().max(300).optional().describe("records of this tool, by its own name or as server:tool"),
  status: z
    .string()
    .max(40)
    .superRefine(unless(wrongStatus))
    .optional()
    .describe(`a status, or one of ${groupNames.join(", ")}`),
  since: since.optional().describe(sinceHelp),
};
export const recordType = z
  .string()
  .max(40)
  .superRefine(unless(wrongRecordType))
  .optional()
  .describe("a record type, e.g. call.end, or the beginning of one and *");
export const until = since.optional().describe("up to here: 30m, 2h or 7d before now, or a date or time");

/** One audit record as operators read it. */
export const auditEntry = z.object({
  chain: z.string(),
  seq: count,
  at: z.number().int().describe("epoch µs, as in the record"),
  type: z.string(),
  call: z.string().nullable(),
  caller: z.string().nullable().describe("principal id, `system` for the gateway itself"),
  consumer: z.string().nullable(),
  method: z.string().nullable().describe("of a record of a call, the method that was called"),
  server: z.string().nullable(),
  tool: z.string().nullable(),
  status: z.string().nullable(),
  us: count.nullable().describe("duration, µs"),
  rule: z.string().nullable(),
  reason: z.string().nullable(),
  /** Flat details of records that are not about calls. */
  facts,
});
export type AuditEntry = z.output<typeof auditEntry>;

/** What shows by a record alone that it, or the payload shown with it, was changed; null where nothing does. */
export const fault = z.string().nullable();

/** The stored payload of one record; null unless it was asked for. */
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
  instances: count.describe("instances that callers use"),
  pids: z.array(count).readonly().describe("all its processes"),
  ownPid: count.nullable().describe("the one among them that serves no caller: by it the gateway lists and checks"),
  tools: count,
  restarts: count,
  inFlight: count,
  reason: z
    .string()
    .nullable()
    .describe(
      "why it is not ready, which instances of a ready one are down, or which of its lists are not known in full",
    ),
  down: z
    .array(z.object({ owner: z.string().nullable(), reason: z.string(), until: epochMs, open: z.boolean() }))
    .readonly()
    .describe("instances of callers that ended unexpectedly and do not run again"),
  listedAt: epochMs.nullable(),
  sandbox: z.literal("none"),
  dropped: count.describe("messages that belonged to nothing: late, foreign or unsolicited"),
  streams: count.describe("streams that are open besides calls"),
  subscriptions: count.describe("resources that somebody is subscribed to"),
}) satisfies z.ZodType<ServerStatus>;

export const toolView = z.object({
  name: z.string().describe("`server:tool`"),
  wire: z.string().describe("the name that MCP clients see"),
  server: z.string(),
  description: z.string().nullable(),
  hidden: z.string().nullable().describe("why it is not offered; null if it is"),
});
export type ToolView = z.output<typeof toolView>;

/** The same, as it is shown with its server. */
export const serverTool = toolView.extend({
  unchecked: z.array(z.string()).readonly().describe("patterns of its schema that arguments are not held to"),
});
export type ServerTool = z.output<typeof serverTool>;

const reasons = z.array(z.object({ kind: z.string(), name: z.string(), reason: z.string() })).readonly();
export type Reasons = z.output<typeof reasons>;

/** What a server offers besides tools, and what of that is not offered. */
export const otherThings = z.object({
  prompts: count,
  resources: count,
  templates: count,
  hidden: reasons,
});

/**
 * Things that are not offered just as their server defined them: why, for the first ones, and how many there are more.
 */
export const leftOut = z.object({ first: reasons, more: count });
export type LeftOut = z.output<typeof leftOut>;

export const whyInput = z.strictObject({
  who: z.string().min(1).max(200).describe("a key's id or a consumer"),
  target: z.string().min(1).max(2000).describe("server:tool, server:prompt, a name on the wire or a URI"),
  kind: z.enum(namedKinds).optional(),
  arguments: z.record(z.string(), z.unknown()).default({}),
});

/** Whether callers may use one thing, and why. */
export const why = z.object({
  kind: z.enum(namedKinds).nullable(),
  name: z.string().describe("`server:name`, or the name asked for if there is no such thing"),
  wire: z.string().nullable().describe("the name or URI that MCP clients see"),
  missing: z.string().nullable().describe("why nobody is offered it; null if it is offered"),
  down: z.string().nullable().describe("why calls fail now although it is offered; null if they do not"),
  /** What each toolset makes of it. */
  toolsets: z
    .array(
      z.object({
        id: z.string(),
        wire: z.string().nullable().describe("the name or URI that clients of its endpoint see; null if there is none"),
        missing: z.string().nullable().describe("why it is not there; null if it is"),
      }),
    )
    .readonly(),
  /** Each key of the consumer, and each other way in which it may call. */
  callers: z
    .array(
      z.object({
        id: z.string().describe("principal id"),
        consumer: z.string(),
        roles: z.array(z.string()).readonly(),
        refused: z.string().nullable().describe("why it is refused before any decision; null if it is not"),
        listed: z.boolean().describe("whether this caller sees it in lists"),
        allowed: z.boolean().describe("whether a call with these arguments passes"),
        rule: z.string().nullable(),
        reason: z.string(),
        remedy: z.string().nullable().describe("what its refusal tells it to change; null if nothing"),
        elsewhere: z.boolean().describe("whether a call may be allowed from some place, which is not known here"),
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
  lastUsedAt: epochMs.nullable().describe("sampled: after a restart up to an hour early; null if no use is known"),
});
export type KeyView = z.output<typeof keyView>;

/** A new key, in the only answer that shows it. */
export const newKey = z.object({
  id: z.string(),
  key: z.string().describe("secret"),
  name: z.string(),
  consumerId: z.string(),
  roles: z.array(z.string()).readonly(),
  expiresAt: epochMs.nullable(),
  cidrs: z.array(z.string()).readonly(),
  perMinute: z.number().nullable(),
  idleRoles: z.array(z.string()).readonly().describe("its roles that no policy names"),
  frozen: z.boolean().describe("whether it is refused, as every caller is, until the freeze ends"),
});

const counters = {
  calls: count,
  errors: count,
  denied: count.describe("refused by the gateway: by policy, for a credential or by a rate limit"),
};

/** Usage of one group: a consumer, a server, a `server:tool`, a tag of servers, a day or an hour (UTC). */
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
  .describe("chains that cannot be read as a whole, so that records of them are missing");

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
  records: count.describe("records that were checked; if something is wrong there may be more"),
  first: count.describe("the first record checked; more than 1 if only a part of a chain was checked"),
  exit: z.literal(Object.values(verifyExit)),
  /** The first wrong record, and what is wrong with it. */
  bad: z.object({ seq: count.nullable(), kind: z.string(), detail: z.string() }).nullable(),
  checkpoint: z
    .object({
      source: z.string().describe("file or URL it came from"),
      size: count,
      at: epochMs.nullable().describe("when it was signed; null if unknown"),
      after: count.describe("records after the checkpoint, which it does not prove"),
      /** Of the file that it was read from; where one that was given had been kept, nothing tells. */
      sameHost: z.boolean(),
    })
    .nullable(),
  notes: z.array(z.string()).readonly().describe("why the evidence leaves a doubt, and what in it proves nothing"),
});

export const verifyReport = z.object({
  exit: chainReport.shape.exit,
  chains: z.array(chainReport),
  /** File of the public key that the checkpoints were held against; null if the key was given, or kept in no file. */
  pubkey: z.string().nullable(),
});
export type VerifyReport = z.output<typeof verifyReport>;

export const status = z.object({
  version: z.string(),
  pid: count,
  state: z.enum(["starting", "ready", "draining"]),
  notReady: z.string().nullable().describe("why /ready says not-ready; null when it says ready"),
  waitsFor: z.array(z.string()).readonly().describe("servers that have to start before it is ready"),
  startedAt: epochMs,
  listen: z.array(z.string()).readonly().describe("URLs of the MCP listeners"),
  config: z.string().nullable(),
  stateDir: z.string(),
  auth: z.string(),
  frozen: z.boolean().describe("true while every caller is refused"),
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
  /** What an operator should know: a looser mode, a placeholder key, a file that was not reloaded. */
  warnings: z.array(z.string()).readonly(),
});

export const consumer = z.object({
  consumer: z.string(),
  roles: z.array(z.string()).readonly(),
  keys: count.describe("active keys"),
  inFlight: count,
  calls: counters.calls.nullable().describe("in the last day; null where calls are not counted"),
  errors: counters.errors.nullable(),
  denied: counters.denied.nullable(),
});
export type ConsumerView = z.output<typeof consumer>;
