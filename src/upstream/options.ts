import { z } from "zod";
import { displayName, duration, prefix, serverId } from "../core/options.ts";
import { builtinNames, urlTransports } from "../core/upstream.ts";

/** A shorter interval would put load on servers without any benefit. */
const interval = duration.refine((ms) => ms >= 5_000, "the minimum interval is 5s");

const timeout = duration.refine((ms) => ms > 0, "0s leaves no time for an answer; write for example 30s");

const aboutSecrets = "A string; write secrets as ${VAR}, ${file:PATH} or ${credential:NAME}.";

/** A string for a process. Bun rejects a NUL in it with an error that quotes the whole string, including secrets. */
const startText = z.string().regex(/^[^\0]*$/, "contains a NUL character, which a program cannot be started with");

const common = {
  id: serverId.describe("Lowercase letters, digits and hyphens; the prefix of its tools' names."),
  name: displayName,
  enabled: z.boolean().default(true).describe("Whether the server is enabled."),
  timeout: timeout
    .prefault("30s")
    .describe(
      "How long a call may run without any sign of life from the server, e.g. 30s. Progress, a log message, a notification that reaches the client, and a question about the call count as signs of life; an open connection alone does not. Servers send progress only if the client asked for it.",
    ),
  maxTimeout: duration
    .optional()
    .describe(
      "Maximum total duration of a call that shows signs of life; default: ten times the timeout. The time that the client takes to answer the server's questions is not counted.",
    ),
  protocol: z
    .enum(["auto", "modern", "legacy"])
    .default("auto")
    .describe(
      "`modern` is 2026-07-28; `legacy` is any earlier revision. `auto` asks the server; a stdio program is asked once a day, in a separate process.",
    ),
  tags: z.array(z.string()).default([]).describe("Your own labels; `mcpgw usage --by tag` sums up usage by label."),
  prefix: prefix.describe("Whether clients see its tools under names that start with the server's id."),
  isolation: z
    .enum(["shared", "per-session", "per-principal"])
    .optional()
    .describe(
      "`per-principal`: one instance for each caller; `per-session`: one for each client session; `shared`: one for all callers. Default: `shared` for a builtin server and for a 2026-07-28 server over http, otherwise `per-principal`. A client that offers sampling, elicitation or roots gets its own instance of a legacy server, except under `shared`: then the server does not learn of these offers, and its questions are refused.",
    ),
  maxInstances: z
    .number()
    .int()
    .positive()
    .default(16)
    .describe(
      "Maximum number of instances at once. If another one is needed, an idle one is stopped. The first choice is an instance of a caller that has left: none of its sessions that called is open, and it has made no call without a session for a minute, or for `idleStop` if it was given a task or a question. The second choice is a caller with more than a fair share, then the caller that needs the instance. The stopped instance loses its state. One caller can have at most three quarters of the instances, rounded up. If no instance can be stopped, the call is refused (503).",
    ),
  idleStop: duration
    .prefault("10m")
    .describe("An instance that is idle for this long is stopped and loses its state; the next call starts it again."),
  start: z
    .enum(["boot", "on-demand"])
    .default("boot")
    .describe(
      "`boot`: started with the gateway, which becomes ready only afterwards. `on-demand`: started by the first call; if its tools are not known yet, it is also started once to list them.",
    ),
  healthCheck: interval.prefault("30s").describe("Interval between health checks."),
  refresh: interval.prefault("5m").describe("Interval at which its tools are listed again."),
};

export const stdioOptions = z.strictObject({
  ...common,
  command: startText.min(1).describe("Program to run as a child process, without a shell."),
  args: z
    .array(startText)
    .default([])
    .describe("Its arguments. Do not put secrets here: every user of the host can read them."),
  env: z
    .record(startText, startText.describe(aboutSecrets))
    .default({})
    .describe(
      "Environment variables for it. From the gateway's own environment it gets only PATH, HOME, LANG, TZ and TMPDIR.",
    ),
  cwd: startText.optional().describe("Its working directory; default: the directory of this file."),
});

export const httpOptions = z.strictObject({
  ...common,
  url: z.url({ protocol: /^(https?|wss?)$/ }).describe("URL of its MCP endpoint."),
  transport: z
    .enum(urlTransports)
    .default("http")
    .describe(
      "`http`: Streamable HTTP; `sse`: the older HTTP+SSE pair of endpoints; `websocket`: for ws:// and wss://.",
    ),
  getStream: z
    .enum(["on", "off"])
    .default("on")
    .describe("`off`: the gateway does not open a GET stream to a legacy server."),
  headers: z
    .record(z.string(), z.string().describe(aboutSecrets))
    .default({})
    .describe("Headers sent with each request, in addition to those of the protocol."),
  proxy: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe("HTTP proxy for its requests; proxy environment variables are ignored."),
});

/** A tool server that is part of the executable and runs as a child process. */
export const builtinOptions = z.strictObject({
  ...common,
  builtin: z.enum(builtinNames).describe("Name of a tool server that is part of the executable."),
});

type HttpOptions = z.output<typeof httpOptions>;

/** The options of each transport. */
export type OptionsOf = { readonly [Name in HttpOptions["transport"]]: HttpOptions } & {
  readonly stdio: z.output<typeof stdioOptions>;
  readonly builtin: z.output<typeof builtinOptions>;
};
export type TransportName = keyof OptionsOf;
export type ServerOptions = OptionsOf[TransportName];

/** Returns the options that are specific to the transport: where the server is and what it is given. */
export const transportOptionsOf = (options: ServerOptions): Record<string, unknown> =>
  Object.fromEntries(Object.entries(options).filter(([name]) => !Object.hasOwn(common, name)));

/** Returns the values given to a server that must never be shown, by name. */
export function secretsOf(options: ServerOptions): Readonly<Record<string, string>> {
  if ("headers" in options) return options.headers;
  return "env" in options ? options.env : {};
}

/** Returns the maximum time to which signs of life can extend a call, ms. */
export const maxCallTime = ({ timeout, maxTimeout }: ServerOptions): number =>
  Math.max(timeout, maxTimeout ?? 10 * timeout);
