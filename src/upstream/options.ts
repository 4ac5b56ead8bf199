import { z } from "zod";
import { displayName, duration, prefix, serverId } from "../core/options.ts";
import { builtinNames, urlTransports } from "../core/upstream.ts";

/** A shorter interval would load servers and bring nothing. */
const interval = duration.refine((ms) => ms >= 5_000, "5s is the shortest interval");

const timeout = duration.refine((ms) => ms > 0, "0s is over before any answer; write e.g. 30s");

const aboutSecrets = "A text; write secrets as ${VAR}, ${file:PATH} or ${credential:NAME}.";

/** What a program is started with. Bun refuses a NUL in it, in an error that quotes the whole text, secrets too. */
const startText = z.string().regex(/^[^\0]*$/, "holds a NUL, which no program can be started with");

const common = {
  id: serverId.describe("Lower-case letters, digits and hyphens; the first part of its tools' names."),
  name: displayName,
  enabled: z.boolean().default(true).describe("Whether the server is used."),
  timeout: timeout
    .prefault("30s")
    .describe(
      "How long a call may go without any sign of life from the server, e.g. 30s. Progress, a log message, a notification that reaches the client or a question about the call counts; an open connection alone does not. Servers send progress only if the client asked for it.",
    ),
  maxTimeout: duration
    .optional()
    .describe(
      "How long a call may take in all while there are signs of life; default: ten times the timeout. Time that the client takes to answer the server's questions is not counted.",
    ),
  protocol: z
    .enum(["auto", "modern", "legacy"])
    .default("auto")
    .describe(
      "`modern` is 2026-07-28, `legacy` any earlier revision. `auto` asks the server; a program is asked once a day, in a separate process.",
    ),
  tags: z.array(z.string()).default([]).describe("Your own labels; `mcpgw usage --by tag` adds up over them."),
  prefix: prefix.describe("Whether clients see its tools under names that begin with the server's id."),
  isolation: z
    .enum(["shared", "per-session", "per-principal"])
    .optional()
    .describe(
      "`per-principal`: an instance for each caller; `per-session`: one for each session of a client; `shared`: one for all. Default: `shared` for a builtin server and for one of 2026-07-28 over http, else `per-principal`. A client that offers sampling, elicitation or roots gets its own instance of a legacy server, except under `shared`: there the server is told of no such offers, and its questions are refused.",
    ),
  maxInstances: z
    .number()
    .int()
    .positive()
    .default(16)
    .describe(
      "Most instances at once. If one more is needed, an idle one is stopped: first of a caller who has left (none of its sessions that called is open, and it has not called without one for a minute, or for `idleStop` once that gave it a task or a question), then of a caller with more than a fair share, else of the caller who needs it. Its state is lost. One caller has at most three quarters of them, rounded up. If there is no such instance, the call is refused (503).",
    ),
  idleStop: duration
    .prefault("10m")
    .describe("An instance that is idle for this long is stopped. Its state is lost; the next call starts it anew."),
  start: z
    .enum(["boot", "on-demand"])
    .default("boot")
    .describe(
      "`boot`: started with the gateway, which is ready only afterwards. `on-demand`: started by the first call; if its tools are not known yet, it is also started once to list them.",
    ),
  healthCheck: interval.prefault("30s").describe("Time between health checks."),
  refresh: interval.prefault("5m").describe("How often its tools are listed anew."),
};

export const stdioOptions = z.strictObject({
  ...common,
  command: startText.min(1).describe("Program to run as a child process, never through a shell."),
  args: z
    .array(startText)
    .default([])
    .describe("Its arguments; no secrets, since everybody on the host can read them."),
  env: z
    .record(startText, startText.describe(aboutSecrets))
    .default({})
    .describe("Variables of its environment. Of the gateway's own it gets only PATH, HOME, LANG, TZ and TMPDIR."),
  cwd: startText.optional().describe("Its working directory; default: the directory of this file."),
});

export const httpOptions = z.strictObject({
  ...common,
  url: z.url({ protocol: /^(https?|wss?)$/ }).describe("Address of its MCP endpoint."),
  transport: z
    .enum(urlTransports)
    .default("http")
    .describe("`http`: streamable HTTP; `sse`: the older pair of endpoints; `websocket`: for ws:// and wss://."),
  getStream: z.enum(["on", "off"]).default("on").describe("`off`: the gateway opens no GET stream to a legacy server."),
  headers: z
    .record(z.string(), z.string().describe(aboutSecrets))
    .default({})
    .describe("Headers sent with each request, besides those of the protocol."),
  proxy: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe("HTTP proxy for its requests; proxy variables of the environment are ignored."),
});

/** A tool server inside the executable, run as a child process of its own. */
export const builtinOptions = z.strictObject({
  ...common,
  builtin: z.enum(builtinNames).describe("Name of a tool server inside the executable."),
});

type HttpOptions = z.output<typeof httpOptions>;

/** The options of each transport. */
export type OptionsOf = { readonly [Name in HttpOptions["transport"]]: HttpOptions } & {
  readonly stdio: z.output<typeof stdioOptions>;
  readonly builtin: z.output<typeof builtinOptions>;
};
export type TransportName = keyof OptionsOf;
export type ServerOptions = OptionsOf[TransportName];

/** The options that only servers of this transport have: they say where a server is and what it is given. */
export const transportOptionsOf = (options: ServerOptions): Record<string, unknown> =>
  Object.fromEntries(Object.entries(options).filter(([name]) => !Object.hasOwn(common, name)));

/** The values given to a server that must never be shown, by name. */
export function secretsOf(options: ServerOptions): Readonly<Record<string, string>> {
  if ("headers" in options) return options.headers;
  return "env" in options ? options.env : {};
}

/** The longest time to which signs of life can extend a call, ms. */
export const mostTime = ({ timeout, maxTimeout }: ServerOptions): number =>
  Math.max(timeout, maxTimeout ?? 10 * timeout);
