import { z } from "zod";
import { duration, prefix, serverId } from "../core/options.ts";
import { builtinNames, urlTransports } from "../core/upstream.ts";

/** A shorter interval would load servers and bring nothing. */
const interval = duration.refine((ms) => ms >= 5_000, "5s is the shortest interval");

const timeout = duration.refine((ms) => ms > 0, "0s is over before any answer; write e.g. 30s");

const common = {
  id: serverId,
  name: z.string().max(200).optional(),
  enabled: z.boolean().default(true),
  timeout: timeout.default(30_000),
  /** The longest time to which signs of life can extend a call; ten times the timeout when absent. */
  maxTimeout: duration.optional(),
  /** The era in which the server is spoken to; `auto` finds out. */
  protocol: z.enum(["auto", "modern", "legacy"]).default("auto"),
  tags: z.array(z.string()).default([]),
  prefix,
  /** How instances are divided among callers; the default is per-principal or shared, depending on the server. */
  isolation: z.enum(["shared", "per-session", "per-principal"]).optional(),
  maxInstances: z.number().int().positive().default(16),
  idleStop: duration.default(600_000),
  /**
   * `boot`: started and listed with the gateway. `on-demand`: started by the first call, and before that only to be
   * listed once.
   */
  start: z.enum(["boot", "on-demand"]).default("boot"),
  healthCheck: interval.default(30_000),
  /** How often the tools are listed anew. */
  refresh: interval.default(300_000),
};

export const stdioOptions = z.strictObject({
  ...common,
  command: z.string().min(1),
  args: z.array(z.string()).default([]),
  env: z.record(z.string(), z.string()).default({}),
  cwd: z.string().optional(),
});

export const httpOptions = z.strictObject({
  ...common,
  url: z.url({ protocol: /^(https?|wss?)$/ }),
  transport: z.enum(urlTransports).default("http"),
  /** Whether the GET stream of a legacy session is opened. */
  getStream: z.enum(["on", "off"]).default("on"),
  headers: z.record(z.string(), z.string()).default({}),
  proxy: z.url({ protocol: /^https?$/ }).optional(),
});

/** A tool server inside the executable, run as a child process of its own. */
export const builtinOptions = z.strictObject({ ...common, builtin: z.enum(builtinNames) });

export type HttpOptions = z.output<typeof httpOptions>;

/** The options of each transport. */
export type OptionsOf = { readonly [Name in HttpOptions["transport"]]: HttpOptions } & {
  readonly stdio: z.output<typeof stdioOptions>;
  readonly builtin: z.output<typeof builtinOptions>;
};
export type TransportName = keyof OptionsOf;
export type ServerOptions = OptionsOf[TransportName];

/** The options that only servers of this transport have: they say where a server is and what it is given. */
export const placeOf = (options: ServerOptions): Record<string, unknown> =>
  Object.fromEntries(Object.entries(options).filter(([name]) => !Object.hasOwn(common, name)));

/** The values given to a server that must never be shown, by name. */
export function secretsOf(options: ServerOptions): Readonly<Record<string, string>> {
  if ("headers" in options) return options.headers;
  return "env" in options ? options.env : {};
}

/** The longest time to which signs of life can extend a call, ms. */
export const mostTime = ({ timeout, maxTimeout }: ServerOptions): number =>
  Math.max(timeout, maxTimeout ?? 10 * timeout);
