import { z } from "zod";
import { auditOptions } from "../audit/options.ts";
import { authOptions } from "../authn/options.ts";
import { namesOptions, toolsetsOptions } from "../catalog/options.ts";
import { levels } from "../core/log.ts";
import { limitsOptions } from "../limits/options.ts";
import { policiesOptions, rulesOptions } from "../policy/options.ts";
import { builtinOptions, httpOptions, stdioOptions } from "../upstream/options.ts";
import { usageOptions } from "../usage/options.ts";

// The host comes without brackets; port 0 takes any free port.
type Address = { readonly host: string; readonly port: number };

const address = z.string().transform((text, ctx): Address => {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match && port <= 65535) return { host: match[1] ?? match[2] ?? "", port };
  ctx.addIssue({
    code: "custom",
    message: `"${text}" is no address; write HOST:PORT, e.g. 127.0.0.1:7332 or [::1]:7332`,
  });
  return z.NEVER;
});

const origin = z
  .string()
  .refine((text) => URL.canParse(text) && new URL(text).origin === text, "write an origin, e.g. https://app.example");

// As it stands in a Host header, without its port.
const hostName = z
  .string()
  .regex(
    /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)$/,
    "write the name alone, without scheme and port, e.g. gw.example or [::1]",
  );

const listenOptions = z.strictObject({
  http: address.prefault("127.0.0.1:7332"),
  allowedHosts: z.array(hostName).default([]),
  allowedOrigins: z.array(origin).default([]),
  behindTlsProxy: z.boolean().default(false),
  tls: z.strictObject({ cert: z.string().min(1), key: z.string().min(1) }).optional(),
  maxConnections: z.number().int().positive().default(4096),
});

const controlOptions = z.strictObject({
  socket: z.string().min(1).optional(),
  adminGroup: z.string().min(1).default("mcpgw-admin"),
  readGroup: z.string().min(1).default("mcpgw-audit"),
});

const logOptions = z.strictObject({
  level: z.enum(levels).default("info"),
  format: z.enum(["json", "text"]).default("json"),
});

const gatewayOptions = z.strictObject({
  // `on` and `off` are plain strings in YAML 1.2.
  tools: z
    .union([z.boolean(), z.enum(["on", "off"])])
    .prefault(true)
    .transform((value) => value === true || value === "on"),
  name: z.string().min(1).max(100).default("mcpgw"),
});

const authInput = authOptions.extend({
  type: authOptions.shape.type.unwrap().optional(),
  methods: z
    .array(z.strictObject({ type: authOptions.shape.type.unwrap() }))
    .length(1)
    .optional(),
});

const failClosed = "the gateway never serves calls that it does not record in a hash chain (fail closed, decision D6)";
const onlyTrue = (what: string) =>
  z.literal(true, { error: `${what} cannot be switched off: ${failClosed}; remove this line` }).optional();

const auditInput = auditOptions.extend({
  enabled: onlyTrue("the audit log"),
  hashChain: onlyTrue("the hash chain"),
  path: z.string().min(1).optional(),
});

const rateLimitInput = z.strictObject({
  enabled: z.boolean().default(true),
  defaultPerMinute: z.number().nonnegative().optional(),
  burstMultiplier: z.number().positive().max(1000).default(1),
});

const meteringInput = z.strictObject({
  enabled: z.boolean().default(true),
  dimensions: z.array(z.enum(["calls", "latency", "errors"])).optional(),
});

/** The key that tells the shape of a server entry, and that shape; in the order of the union. */
export const serverShapes = { command: stdioOptions, url: httpOptions, builtin: builtinOptions } as const;

const input = z.strictObject({
  listen: listenOptions.prefault({}),
  control: controlOptions.prefault({}),
  state: z.string().min(1).optional(),
  log: logOptions.prefault({}),
  gateway: gatewayOptions.prefault({}),
  names: namesOptions.prefault({}),
  auth: authInput.prefault({}),
  servers: z.array(z.union([serverShapes.command, serverShapes.url, serverShapes.builtin])).default([]),
  toolsets: toolsetsOptions,
  rules: rulesOptions,
  policies: policiesOptions,
  limits: limitsOptions.prefault({}),
  audit: auditInput.prefault({}),
  usage: usageOptions.prefault({}),
  rateLimit: rateLimitInput.optional(),
  metering: meteringInput.optional(),
});

/** The schema of the file: its input is what may be written, its output what the program works with. */
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

/** The configuration in force: defaults filled in, older spellings translated, `${…}` substituted, paths absolute. */
export type Config = z.output<typeof configSchema>;
