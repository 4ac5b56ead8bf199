import { z } from "zod";
import type { ActType } from "../core/event.ts";
import { network, plainId } from "../core/options.ts";
import { maxAnswerItems, usageGroupings } from "./filters.ts";
import {
  auditEntry,
  auditStats,
  byId,
  consumer,
  fault,
  keyView,
  leftOut,
  newKey,
  nothing,
  otherThings,
  payloads,
  recorded,
  recordType,
  selection,
  serverStatus,
  status,
  serverTool,
  toolView,
  unread,
  until,
  usageLine,
  verifyReport,
  why,
  whyInput,
} from "./schemas.ts";

/** The maximum time that a Date can hold, in epoch ms. */
const latest = 8_640_000_000_000_000;

const lastLines = byId.extend({ lines: z.number().int().min(1).max(maxAnswerItems).default(200) });

/**
 * How an operation is recorded, with the process that requested it: before it runs, so that it does not run unless it
 * is recorded, or by its handler, in the handler's own order.
 */
type Recording = { recorded: { before: ActType } | { byHandler: ActType | "call.begin" } };

/** The required access: `read` for members of the read group, `admin` for administrators only. */
type Access =
  | { access: "read"; adminWhen?: never; recorded?: never }
  | ({ access: "admin"; adminWhen?: never } & Recording)
  /** With `adminWhen`, only an administrator may use the operation if this input member is truthy. */
  | ({ access: "read"; adminWhen: string } & Recording);

export type Row = Access & {
  summary: string;
  /** Set if the operation answers with a stream of events instead of a single result. */
  stream?: true;
  /** The name of the operation as one of the gateway's own MCP tools. */
  mcp?: string;
  input: z.ZodType;
  output: z.ZodType;
};

/** All operations on a running gateway; control server and client, CLI, console and MCP tools are derived from it. */
export const operations = {
  status: {
    access: "read",
    summary: "State of the gateway and its servers",
    input: nothing,
    output: status,
  },
  tail: {
    access: "read",
    summary: "Audit records as they become durable",
    stream: true,
    input: z.strictObject({
      ...selection,
      after: z.number().int().nonnegative().optional().describe("records after this sequence number; overrides since"),
    }),
    output: auditEntry,
  },
  "keys.create": {
    access: "admin",
    recorded: { byHandler: "key.created" },
    summary: "Create an API key; it is shown only in this answer",
    input: z.strictObject({
      name: z.string().min(1).max(200),
      consumerId: plainId,
      roles: z.array(z.string().min(1).max(64)).min(1).max(32),
      expiresAt: z.number().int().max(latest).nullable().default(null),
      perMinute: z.number().nonnegative().nullable().default(null),
      cidrs: z.array(network).max(64).default([]),
    }),
    output: newKey,
  },
  "keys.list": {
    access: "read",
    summary: "API keys, without their secrets",
    input: nothing,
    output: z.object({ frozen: z.boolean(), keys: z.array(keyView).readonly() }),
  },
  "keys.revoke": {
    access: "admin",
    recorded: { byHandler: "key.revoked" },
    summary: "Revoke a key and end its streams at once",
    input: byId,
    output: z.object({ id: z.string(), recorded }),
  },
  "keys.rotate": {
    access: "admin",
    recorded: { byHandler: "key.rotated" },
    summary: "Revoke a key and create a new one with the same rights",
    input: byId,
    output: newKey,
  },
  "keys.freeze": {
    access: "admin",
    recorded: { byHandler: "key.frozen" },
    summary: "Refuse every caller at once",
    input: nothing,
    output: z.object({ frozen: z.boolean(), recorded }),
  },
  "keys.unfreeze": {
    access: "admin",
    recorded: { byHandler: "key.unfrozen" },
    summary: "End a freeze",
    input: nothing,
    output: z.object({ frozen: z.boolean(), recorded }),
  },
  "servers.list": {
    access: "read",
    summary: "The managed MCP servers and their state",
    mcp: "list_servers",
    input: nothing,
    output: z.object({ servers: z.array(serverStatus).readonly() }),
  },
  "servers.show": {
    access: "read",
    summary: "State and tools of one server, and how many prompts, resources and templates it has",
    mcp: "server_status",
    input: byId,
    output: z.object({ server: serverStatus, tools: z.array(serverTool).readonly(), others: otherThings, leftOut }),
  },
  "servers.restart": {
    access: "admin",
    recorded: { before: "admin.server-restart" },
    summary: "Stop a server's processes or sessions and start it again",
    input: byId,
    output: z.object({ server: serverStatus }),
  },
  "servers.logs": {
    access: "read",
    summary: "The last lines a server wrote to its standard error",
    input: lastLines,
    output: z.object({ lines: z.array(z.string()).readonly() }),
  },
  "servers.follow": {
    access: "read",
    summary: "The last lines a server wrote to its standard error, and new ones as it writes them",
    stream: true,
    input: lastLines,
    output: z.object({ line: z.string() }),
  },
  "tools.list": {
    access: "read",
    summary: "The tools a caller may use",
    mcp: "list_tools",
    input: z.strictObject({ server: z.string().max(64).optional() }),
    output: z.object({ tools: z.array(toolView).readonly() }),
  },
  "tools.call": {
    access: "admin",
    recorded: { byHandler: "call.begin" },
    summary: "Call a tool; policy, limits and the audit log apply as for any client",
    mcp: "call",
    input: z.strictObject({
      tool: z.string().min(1).max(300).describe("server:tool"),
      arguments: z
        .union([z.record(z.string(), z.unknown()), z.string()])
        .default({})
        .describe("the arguments as an object, or as JSON text if every digit must arrive as written"),
    }),
    output: z.object({
      call: z.string(),
      status: z.string(),
      result: z.string().nullable().describe("JSON text of the MCP result; null if there is none"),
      error: z.object({ code: z.number(), message: z.string() }).nullable(),
    }),
  },
  "audit.log": {
    access: "read",
    summary: "Audit records, newest first",
    mcp: "audit_log",
    input: z.strictObject({
      ...selection,
      until,
      type: recordType,
      limit: z.number().int().min(1).max(maxAnswerItems).default(50),
    }),
    output: z.object({
      records: z.array(auditEntry).readonly(),
      more: z.boolean().describe("whether older records also match"),
      unread,
    }),
  },
  "audit.show": {
    access: "read",
    adminWhen: "payloads",
    recorded: { before: "admin.payloads-shown" },
    summary: "One audit record in full",
    input: z.strictObject({
      seq: z.number().int().positive(),
      chain: z.string().max(40).default("main"),
      payloads: z.boolean().default(false),
    }),
    output: z.object({
      entry: auditEntry,
      rec: z.string().describe("the record's canonical text, exactly as hashed"),
      leaf: z.string().describe("URL-safe base64 (RFC 4648 §5) without padding, as in an export"),
      payloads,
      fault,
      /** The record of the start of the call; null if there is none. */
      begin: z.object({ seq: z.number().int(), rec: z.string(), payloads, fault }).nullable(),
      /** The client address behind the pseudonym in `src`, only with payloads; `address` is null once erased. */
      source: z.object({ src: z.string(), address: z.string().nullable() }).nullable(),
    }),
  },
  "audit.stats": {
    access: "read",
    summary: "Audit records counted by type, and calls by status, consumer, server and tool",
    mcp: "audit_stats",
    input: z.strictObject({ since: selection.since, until }),
    output: auditStats,
  },
  "audit.verify": {
    access: "read",
    summary: "Check the audit chains against their hashes and checkpoints",
    mcp: "audit_verify",
    input: z.strictObject({
      checkpoints: z
        .array(z.object({ source: z.string(), text: z.string().max(1 << 20) }))
        .max(100)
        .default([])
        .describe("signed checkpoints kept elsewhere, in addition to those that the gateway knows"),
      pubkey: z.string().max(200).optional().describe("the key that must have signed them"),
    }),
    output: verifyReport,
  },
  "audit.export": {
    access: "read",
    adminWhen: "payloads",
    recorded: { before: "admin.payloads-exported" },
    summary: "Audit records as JSON lines that can be verified without the gateway",
    stream: true,
    input: z.strictObject({
      chain: z.string().max(40).optional(),
      since: selection.since,
      until,
      payloads: z.boolean().default(false),
    }),
    output: z.string(),
  },
  usage: {
    access: "read",
    summary: "Calls, errors, denials, latency and bytes",
    mcp: "usage",
    input: z.strictObject({
      consumer: z.string().max(64).optional(),
      by: z.enum(usageGroupings).default("consumer"),
      since: selection.since,
      until,
    }),
    output: z.object({
      metered: z.boolean().describe("false if calls are not counted now; these were counted before"),
      hours: z
        .object({ since: z.string().nullable(), until: z.string().nullable() })
        .optional()
        .describe("the whole hours that the answer covers, if the requested times are more precise"),
      cutShort: z
        .array(z.object({ chain: z.string(), upto: z.number() }))
        .readonly()
        .optional()
        .describe("chains that cannot be read to their end, each with the last record that is counted"),
      overlap: z.boolean().optional().describe("true if the calls of a server with several tags count in several rows"),
      rows: z.array(usageLine).readonly(),
    }),
  },
  "config.show": {
    access: "read",
    summary: "The running configuration with secrets masked",
    input: nothing,
    output: z.object({ file: z.string().nullable(), loadedAt: z.number().int(), config: z.unknown() }),
  },
  "config.reload": {
    access: "admin",
    recorded: { before: "admin.reload" },
    summary: "Load the configuration file again; an invalid file changes nothing",
    input: nothing,
    output: z.object({ file: z.string(), changed: z.boolean(), warnings: z.array(z.string()).readonly() }),
  },
  why: {
    access: "read",
    summary: "Whether a key or consumer sees something and may call it, and why",
    input: whyInput,
    output: why,
  },
  consumers: {
    access: "read",
    summary: "The consumers, with their roles and number of calls",
    input: nothing,
    output: z.object({ consumers: z.array(consumer).readonly() }),
  },
} as const satisfies Record<string, Row>;

export type Operations = typeof operations;
export type Name = keyof Operations;
export type StreamName = { [N in Name]: Operations[N] extends { stream: true } ? N : never }[Name];
export type CallName = Exclude<Name, StreamName>;

/** The input that a client sends. */
export type Input<N extends Name> = z.input<Operations[N]["input"]>;
/** The input that a handler gets: checked, with defaults filled in. */
export type Parsed<N extends Name> = z.output<Operations[N]["input"]>;
export type Answer<N extends Name> = z.output<Operations[N]["output"]>;
