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
  /** Principal id, `system` for the gateway itself. */
  caller: z.string().nullable(),
  consumer: z.string().nullable(),
  /** Of a record of a call, the method that was called. */
  method: z.string().nullable(),
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
  /** `server:tool`. */
  name: z.string(),
  /** The name that MCP clients see. */
  wire: z.string(),
  server: z.string(),
  description: z.string().nullable(),
  /** Why it is not offered; null if it is. */
  hidden: z.string().nullable(),
});
export type ToolView = z.output<typeof toolView>;

/** The same, as it is shown with its server. */
export const serverTool = toolView.extend({
  /** Patterns of its schema that arguments are not held to: they cannot be matched in linear time. */
  unchecked: z.array(z.string()).readonly(),
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

/** Things that are not offered just as their server defined them: why, for the first ones, and how many there are more. */
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
  /** `server:name`, or the name asked for if there is no such thing. */
  name: z.string(),
  /** The name or URI that MCP clients see. */
  wire: z.string().nullable(),
  /** Why nobody is offered it; null if it is offered. */
  missing: z.string().nullable(),
  /** Why calls fail now although it is offered; null if they do not. */
  down: z.string().nullable(),
  /** What each toolset makes of it. */
  toolsets: z
    .array(
      z.object({
        id: z.string(),
        /** The name or URI that clients of its endpoint see; null if it is not there. */
        wire: z.string().nullable(),
        /** Why it is not there; null if it is. */
        missing: z.string().nullable(),
      }),
    )
    .readonly(),
  /** Each key of the consumer, and each other way in which it may call. */
  callers: z
    .array(
      z.object({
        /** Principal id. */
        id: z.string(),
        consumer: z.string(),
        roles: z.array(z.string()).readonly(),
        /** Why it is refused before any decision; null if it is not. */
        refused: z.string().nullable(),
        /** Whether this caller sees it in lists. */
        listed: z.boolean(),
        /** Whether a call with these arguments passes. */
        allowed: z.boolean(),
        rule: z.string().nullable(),
        reason: z.string(),
        /** What its refusal tells it to change; null if nothing. */
        remedy: z.string().nullable(),
        /** Whether a call from some place may be allowed: conditions on the source count against it here. */
        elsewhere: z.boolean(),
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
  /** Sampled: after a restart of the gateway up to an hour early; null if no use is known. */
  lastUsedAt: epochMs.nullable(),
});
export type KeyView = z.output<typeof keyView>;

/** A new key, in the only answer that shows it. */
export const newKey = z.object({
  id: z.string(),
  /** Secret. */
  key: z.string(),
  name: z.string(),
  consumerId: z.string(),
  roles: z.array(z.string()).readonly(),
  expiresAt: epochMs.nullable(),
  cidrs: z.array(z.string()).readonly(),
  /** Its roles that no policy names. */
  idleRoles: z.array(z.string()).readonly(),
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

export const auditStats = z.object({
  chains: z.array(z.object({ chain: z.string(), records: count })),
  byType: z.record(z.string(), count),
  byStatus: z.record(z.string(), count),
  consumers: z.array(tally),
  servers: z.array(tally),
  tools: z.array(tally),
});

const chainReport = z.object({
  chain: z.string(),
  /** Records that were checked; if something is wrong there may be more. */
  records: count,
  /** The first record checked; more than 1 if only a part of a chain was checked. */
  first: count,
  exit: z.literal(Object.values(verifyExit)),
  /** The first wrong record, and what is wrong with it. */
  bad: z.object({ seq: count.nullable(), kind: z.string(), detail: z.string() }).nullable(),
  checkpoint: z
    .object({
      /** File or URL it came from. */
      source: z.string(),
      size: count,
      /** When it was signed; null if unknown. */
      at: epochMs.nullable(),
      /** Records after the checkpoint, which it does not prove. */
      after: count,
      /** Of the file that it was read from; where one that was given had been kept, nothing tells. */
      sameHost: z.boolean(),
    })
    .nullable(),
  /** Why the evidence leaves a doubt, and what in it proves nothing. */
  notes: z.array(z.string()).readonly(),
});
export type ChainReport = z.output<typeof chainReport>;

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
  /** URLs of the MCP listeners. */
  listen: z.array(z.string()).readonly(),
  config: z.string().nullable(),
  stateDir: z.string(),
  auth: z.string(),
  /** True while every caller is refused. */
  frozen: z.boolean(),
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
  /** Active keys. */
  keys: count,
  inFlight: count,
  /** In the last day; null where calls are not counted. */
  calls: counters.calls.nullable(),
  errors: counters.errors.nullable(),
  denied: counters.denied.nullable(),
});
export type ConsumerView = z.output<typeof consumer>;
