import { z } from "zod";
import { auditOptions } from "../audit/options.ts";
import { authOptions } from "../authn/options.ts";
import { namesOptions, toolsetsOptions } from "../catalog/options.ts";
import { hostName } from "../core/host-name.ts";
import { levels } from "../core/log.ts";
import { limitsOptions } from "../limits/options.ts";
import { policiesOptions, rulesOptions } from "../policy/options.ts";
import { builtinOptions, httpOptions, stdioOptions } from "../upstream/options.ts";
import { usageOptions } from "../usage/options.ts";

// The host has no brackets; port 0 picks any free port.
type Address = { readonly host: string; readonly port: number };

const noAddress = (text: string | number): string =>
  `"${text}" is not an address; write HOST:PORT, for example 127.0.0.1:7332 or [::1]:7332`;

// YAML reads a port alone as a number.
const addressText = z.string({ error: ({ input }) => (typeof input === "number" ? noAddress(input) : undefined) });

const address = addressText.transform((text, ctx): Address => {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match && port <= 65535) return { host: match[1] ?? match[2] ?? "", port };
  ctx.addIssue({ code: "custom", message: noAddress(text) });
  return z.NEVER;
});

const origin = z
  .string()
  .refine(
    (text) => URL.canParse(text) && new URL(text).origin === text && !text.includes("*"),
    "is not an origin; write for example https://app.example",
  );

const allowedHost = z
  .string()
  .regex(
    new RegExp(`^${hostName}$`),
    'write only the host name (letters, digits, "-", "_" and dots) without scheme and port, for example gw.example or [::1]',
  );

const listenOptions = z.strictObject({
  http: address
    .prefault("127.0.0.1:7332")
    .describe(
      "HOST:PORT of the MCP endpoint; port 0 picks a free port. An address off loopback requires auth, and TLS or behindTlsProxy.",
    ),
  allowedHosts: z
    .array(allowedHost)
    .default([])
    .describe(
      "Names accepted in the Host header in addition to the host of listen.http (unless that is 0.0.0.0 or [::]). On loopback, localhost, 127.0.0.1 and [::1] are also accepted; off loopback, an empty list accepts every name.",
    ),
  allowedOrigins: z
    .array(origin)
    .default([])
    .describe("Origins of the web pages that may call the gateway; all others are refused."),
  behindTlsProxy: z
    .boolean()
    .default(false)
    .describe("A proxy in front of the gateway terminates TLS, so plain HTTP off loopback is intended."),
  tls: z
    .strictObject({
      cert: z.string().min(1).describe("PEM file of the certificate chain; relative to this file."),
      key: z.string().min(1).describe("PEM file of the private key; relative to this file."),
    })
    .optional()
    .describe("Certificate and key for serving HTTPS."),
  maxConnections: z
    .number()
    .int()
    .positive()
    .default(4096)
    .describe(
      "Maximum number of requests, streams and WebSockets served at once. Further ones get 503, except /live, and /metrics from this machine. If more connections are open, idle ones are closed.",
    ),
});

/** The default operator groups; they need not exist on the machine. */
export const defaultGroups = { adminGroup: "mcpgw-admin", readGroup: "mcpgw-audit" } as const;

const controlOptions = z.strictObject({
  socket: z.string().min(1).optional().describe("Path of the socket; relative to this file."),
  adminGroup: z
    .string()
    .min(1)
    .default(defaultGroups.adminGroup)
    .describe("Members of this group may use every control command."),
  readGroup: z
    .string()
    .min(1)
    .default(defaultGroups.readGroup)
    .describe("Members of this group may use the control commands that only read."),
});

const logOptions = z.strictObject({
  level: z.enum(levels).default("info").describe("Minimum severity of the lines that are written."),
  format: z.enum(["json", "text"]).default("json").describe("`json` writes one object per line, `text` is for people."),
});

const gatewayOptions = z.strictObject({
  // YAML 1.2 reads `on` and `off` as strings.
  tools: z
    .union([z.boolean(), z.enum(["on", "off"])])
    .prefault(true)
    .transform((value) => value === true || value === "on")
    .describe(
      "Whether the gateway offers its own tools (`mcpgw__audit_log` and others) to callers that the rules allow to use them.",
    ),
  name: z
    .string()
    .min(1)
    .max(100)
    .default("mcpgw")
    .describe("The name under which the gateway introduces itself to clients."),
});

const authType = authOptions.shape.type.unwrap();

const authInput = authOptions.extend({
  type: authType.optional(),
  methods: z
    .array(z.strictObject({ type: authType }))
    .length(1)
    .optional()
    .describe("The long form of `type`."),
});

const failClosed = "the gateway never serves calls that it does not record in a hash chain (fail closed, decision D6)";
const onlyTrue = (what: string) =>
  z
    .literal(true, { error: `${what} cannot be switched off: ${failClosed}; remove this line` })
    .optional()
    .describe("Always true.");

const auditInput = auditOptions.extend({
  enabled: onlyTrue("the audit log"),
  hashChain: onlyTrue("the hash chain"),
  path: z
    .string()
    .min(1)
    .optional()
    .describe(
      "File of the daemon's audit chain, relative to this file; default: audit/main.db in the state directory.",
    ),
});

const rateLimitInput = z.strictObject({
  enabled: z.boolean().default(true).describe("Whether the limit applies."),
  defaultPerMinute: z.number().nonnegative().optional().describe("Same as limits.perMinute."),
  burstMultiplier: z
    .number()
    .positive()
    .max(1000)
    .default(1)
    .describe("limits.burst as a multiple of defaultPerMinute."),
});

const meteringInput = z.strictObject({
  enabled: z.boolean().default(true).describe("Same as usage.enabled."),
  dimensions: z
    .array(z.enum(["calls", "latency", "errors"]))
    .optional()
    .describe("Has no effect: all dimensions are always counted."),
});

/** The shape of a server entry by the key that identifies it, in the order of the union. */
export const serverShapes = { command: stdioOptions, url: httpOptions, builtin: builtinOptions } as const;

const input = z.strictObject({
  listen: listenOptions.prefault({}).describe("Where agents connect over HTTP."),
  control: controlOptions.prefault({}).describe("The Unix socket for operators."),
  state: z.string().min(1).optional().describe("Directory for keys, audit log and usage; relative to this file."),
  log: logOptions.prefault({}).describe("The program's own log, on stderr."),
  gateway: gatewayOptions.prefault({}).describe("The gateway as an MCP server."),
  names: namesOptions.prefault({}).describe("How tools and prompts are named toward clients."),
  auth: authInput.prefault({}).describe("How callers are authenticated."),
  servers: z
    .array(z.union([serverShapes.command, serverShapes.url, serverShapes.builtin]))
    .default([])
    .describe("The MCP servers behind the gateway: each has one of command, url or builtin."),
  toolsets: toolsetsOptions,
  rules: rulesOptions,
  policies: policiesOptions,
  limits: limitsOptions.prefault({}).describe("Limits on calls and message sizes."),
  audit: auditInput.prefault({}).describe("The audit log of every call; it cannot be switched off."),
  usage: usageOptions.prefault({}).describe("Metering."),
  rateLimit: rateLimitInput.optional().describe("Older spelling of limits."),
  metering: meteringInput.optional().describe("Older spelling of usage."),
});

/** The schema of the file: its input is what the file may contain, its output what the program uses. */
export const configSchema = input.transform((file) => {
  const { rateLimit, metering, auth, audit, limits, ...rest } = file;
  const { methods, type, ...identity } = auth;
  const { enabled: _enabled, hashChain: _hashChain, path, ...evidence } = audit;
  return {
    ...rest,
    auth: { ...identity, type: type ?? methods?.[0]?.type ?? "api-key" },
    audit: { ...evidence, path: path ?? null },
    limits: { ...limits, ...fromRateLimit(rateLimit) },
    usage: metering ? { enabled: metering.enabled } : rest.usage,
  };
});

function fromRateLimit(old: z.output<typeof rateLimitInput> | undefined): { perMinute?: number; burst?: number } {
  if (!old?.enabled || old.defaultPerMinute === undefined) return {};
  const perMinute = old.defaultPerMinute;
  return perMinute > 0 ? { perMinute, burst: Math.max(1, Math.round(perMinute * old.burstMultiplier)) } : { perMinute };
}

/** A loaded configuration: defaults filled in, older spellings translated, `${…}` substituted, paths absolute. */
export type Config = z.output<typeof configSchema>;
