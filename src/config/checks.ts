import { isLoopback } from "../core/cidr.ts";
import { shellVariable } from "../core/credential-patterns.ts";
import { formatDuration } from "../core/duration.ts";
import type { Carrier, Findings, Path } from "../core/finding.ts";
import { compileGlob } from "../core/glob.ts";
import { hashKey, keyHash } from "../core/key-hash.ts";
import { besideServer, nameFault, ownServer, reservedServers, splitSelector } from "../core/name.ts";
import { commandLines } from "./command-lines.ts";
import type { Written } from "./document.ts";
import type { Report } from "./problem.ts";
import type { Config } from "./schema.ts";
import { toolsets } from "./toolset-checks.ts";

/** Finds problems and warnings in rules and policies that match the schema, given the servers and roles. */
export type ExaminePolicy = (
  policy: Pick<Config, "rules" | "policies"> & {
    readonly servers: readonly string[];
    readonly carriers: readonly Carrier[];
  },
) => Findings;

type Check = (config: Config, report: Report, written: Written) => void;
type Server = Config["servers"][number];
type ServerCheck = (server: Server, at: Path, report: Report) => void;

/** Finds problems that involve several keys of the file: duplicates, contradictions, references to nothing. */
export function check(config: Config, examinePolicy: ExaminePolicy, written: Written): Findings {
  const { rules, policies, servers, auth } = config;
  const carriers = [
    ...auth.keys.map(({ roles }, index) => ({ path: ["auth", "keys", index, "roles"], roles })),
    { path: ["auth", "stdio", "roles"], roles: auth.stdio?.roles ?? [] },
    { path: ["auth", "roles"], roles: auth.roles ?? [] },
  ];
  const policy = examinePolicy({ rules, policies, servers: servers.map(({ id }) => id), carriers });
  const findings = { problems: [...policy.problems], warnings: [...policy.warnings] };
  const report: Report = {
    problem: (path, message) => void findings.problems.push({ path, message }),
    warn: (path, message) => void findings.warnings.push({ path, message }),
  };
  for (const run of checks) run(config, report, written);
  for (const [index, server] of servers.entries()) {
    for (const run of serverChecks) run(server, ["servers", index], report);
  }
  return findings;
}

const checks: readonly Check[] = [
  someServer,
  serverIds,
  toolsets,
  commandLines,
  keys,
  exposure,
  toolLimits,
  nobody,
  proxied,
  neighbours,
  shellVariables,
  homes,
];
const serverChecks: readonly ServerCheck[] = [times, transports, headers, plainHttp];

/** Yields the index of each repeated value, with the index of its first occurrence. */
function* repeated(values: readonly (string | undefined)[]): Generator<[index: number, first: number]> {
  const seen = new Map<string, number>();
  for (const [index, value] of values.entries()) {
    if (value === undefined) continue;
    const first = seen.get(value);
    if (first === undefined) seen.set(value, index);
    else yield [index, first];
  }
}

function someServer({ servers }: Config, report: Report): void {
  if (servers.some(({ enabled }) => enabled)) return;
  report.warn(["servers"], "no server is enabled: callers get only the gateway's own tools");
}

function times({ timeout, maxTimeout, idleStop }: Server, at: Path, report: Report): void {
  if (maxTimeout !== undefined && maxTimeout < timeout) {
    const message = `is less than timeout (${formatDuration(timeout)}), which progress notifications can only extend`;
    report.problem([...at, "maxTimeout"], message);
  }
  if (idleStop > 0) return;
  const message =
    "0s stops an instance as soon as it is unused, so most calls start a new one; to never stop it, write for example 365d";
  report.warn([...at, "idleStop"], message);
}

function transports(server: Server, at: Path, report: Report): void {
  const transport = "url" in server ? server.transport : null;
  if (server.protocol === "modern" && (transport === "sse" || "builtin" in server)) {
    const what = transport === "sse" ? "the older SSE transport" : "a builtin server";
    report.problem([...at, "protocol"], `modern is not supported by ${what}; write auto or leave it out`);
  }
  if ("url" in server && transport !== "http" && server.getStream === "off") {
    const message = `has an effect only with transport: http; over ${transport} the single stream is always open`;
    report.problem([...at, "getStream"], message);
  }
}

const ownHeaders =
  /^(accept|accept-encoding|content-type|content-length|last-event-id|mcp-(protocol-version|session-id|method|name|param-.*))$/;

const headerName = /^[\w!#$%&'*+.^`|~-]+$/;
/** The characters that HTTP allows in a header value; line breaks around the value are stripped. */
const headerValue = /^[\t\x20-\x7e\x80-\xff]*$/;

function headers(server: Server, at: Path, report: Report): void {
  if (!("url" in server)) return;
  const names = Object.keys(server.headers);
  const lower = names.map((name) => name.toLowerCase());
  const problem = (name: string | undefined, message: string): void =>
    report.problem([...at, "headers", name ?? ""], message);
  for (const [which, name] of lower.entries()) {
    if (ownHeaders.test(name)) problem(names[which], "is set by the gateway itself; remove it");
  }
  for (const [name, value] of Object.entries(server.headers)) {
    if (!headerName.test(name)) problem(name, "is not a valid HTTP header name");
    else if (!headerValue.test(value.replace(/^[\r\n]+|[\r\n]+$/g, "")))
      problem(name, "has characters that are not allowed in an HTTP header, such as a line break in a secret");
  }
  for (const [which, first] of repeated(lower)) problem(names[which], `is the same header as ${names[first]}`);
}

function serverIds({ servers }: Config, report: Report): void {
  for (const [index, { id }] of servers.entries()) {
    if (reservedServers.has(id)) report.problem(["servers", index, "id"], `"${id}" is reserved; choose another id`);
  }
  for (const [index, first] of repeated(servers.map(({ id }) => id))) {
    report.problem(["servers", index, "id"], `servers[${first}] already has this id`);
  }
}

/** Warns that, without a sandbox, programs of the same user can read each other's environment. */
function neighbours({ servers }: Config, report: Report): void {
  const programs = servers.flatMap((server, index) =>
    "command" in server && server.enabled ? [{ server, index }] : [],
  );
  if (programs.length < 2) return;
  for (const { server, index } of programs) {
    if (Object.keys(server.env).length === 0) continue;
    const message =
      "other server programs can read these values through /proc: they run as the same user, without a sandbox";
    return report.warn(["servers", index, "env"], message);
  }
}

/** Warns of `$NAME`, which is passed on as written. Arguments are not checked, since they may be meant for a shell. */
function shellVariables({ servers }: Config, report: Report, written: Written): void {
  for (const [index, server] of servers.entries()) {
    const option = "env" in server ? "env" : "headers";
    const values = "env" in server ? server.env : "headers" in server ? server.headers : {};
    for (const [key, value] of Object.entries(values)) {
      const path = ["servers", index, option, key];
      const name = written(path) === null ? shellVariable.exec(value)?.[1] : undefined;
      if (name !== undefined) report.warn(path, `$${name} is not expanded; write \${${name}}`);
    }
  }
}

/** Warns of `~`, which only a shell expands: here it names a directory next to the file. */
function homes({ state, control, listen, audit, servers }: Config, report: Report): void {
  const paths: (readonly [Path, string | null | undefined])[] = [
    [["state"], state],
    [["control", "socket"], control.socket],
    [["listen", "tls", "cert"], listen.tls?.cert],
    [["listen", "tls", "key"], listen.tls?.key],
    [["audit", "path"], audit.path],
    ...audit.checkpoints.map(({ file }, index) => [["audit", "checkpoints", index, "file"], file] as const),
    ...servers.flatMap((server, index) =>
      "command" in server
        ? (["command", "cwd"] as const).map((option) => [["servers", index, option], server[option]] as const)
        : [],
    ),
  ];
  for (const [path, text] of paths) {
    if (text?.startsWith("~/")) report.warn(path, `~ is not expanded; write \${HOME}${text.slice(1)}`);
  }
}

function plainHttp(server: Server, at: Path, report: Report): void {
  if (!("url" in server)) return;
  const { protocol, hostname } = new URL(server.url);
  const socket = protocol === "ws:" || protocol === "wss:";
  if (socket !== (server.transport === "websocket")) {
    report.problem(
      [...at, "transport"],
      "ws:// and wss:// URLs require transport: websocket, and it requires such a URL",
    );
  }
  if (protocol === "https:" || protocol === "wss:" || isLoopback(hostname.replace(/^\[|\]$/g, ""))) return;
  report.warn(
    [...at, "url"],
    `plain ${protocol}// to another machine: anyone on the network path can read calls and headers`,
  );
}

function keys({ auth }: Config, report: Report): void {
  const at = (index: number): Path => ["auth", "keys", index];
  for (const [index, first] of repeated(auth.keys.map(({ id }) => id))) {
    report.problem([...at(index), "id"], `auth.keys[${first}] already has this id`);
  }
  for (const [index, { enabled, expiresAt }] of auth.keys.entries()) {
    if (!enabled || expiresAt === undefined || Date.parse(expiresAt) > Date.now()) continue;
    report.warn(
      [...at(index), "expiresAt"],
      "is in the past, so the key is refused; remove the key, or set a later time",
    );
  }
  const hashes = auth.keys.map(({ key, keyHash: hash }) => (key === undefined ? hash : keyHash(hashKey(key))));
  for (const [index, first] of repeated(hashes)) {
    report.problem(at(index), `this is the same key as auth.keys[${first}]`);
  }
}

function toolLimits({ limits, servers }: Config, report: Report): void {
  if (limits.burst !== undefined && limits.perMinute === undefined) {
    report.problem(["limits", "burst"], "has no effect without limits.perMinute; set that too");
  }
  if (limits.perMinute === 0) {
    report.warn(["limits", "perMinute"], "0 refuses every call; for no limit, leave it out");
  }
  const known = [ownServer, ...servers.map(({ id }) => id)];
  for (const [index, { tool, server: beside }] of limits.perTool.entries()) {
    const at = ["limits", "perTool", index];
    const { server, name } = splitSelector(tool, beside);
    const meant = known.filter(compileGlob(server ?? "*"));
    // Only a warning: a server that is itself a gateway can have names of this form.
    const fault = nameFault(name, meant, beside !== undefined, besideServer("tool"));
    if (fault !== null) report.warn([...at, "tool"], fault);
    if (meant.length === 0) report.warn(at, `there is no server "${server}", so this limit never applies`);
  }
}

function exposure({ listen, auth }: Config, report: Report): void {
  const outside = !isLoopback(listen.http.host);
  if (listen.tls && listen.behindTlsProxy) {
    report.problem(["listen", "tls"], "tls and behindTlsProxy are mutually exclusive; keep one");
  }
  if (outside && auth.type !== "none" && !listen.tls && !listen.behindTlsProxy) {
    report.problem(
      ["listen", "http"],
      "keys must not be sent unencrypted off loopback; set listen.tls or behindTlsProxy: true",
    );
  }
}

/** Warns of address checks behind a proxy. A client could forge forwarding headers, so only the peer address counts. */
function proxied({ listen, auth, rules, policies }: Config, report: Report): void {
  if (!listen.behindTlsProxy) return;
  const warn = (path: Path): void =>
    report.warn(
      path,
      "is compared with the address of the proxy, which all calls come from; restrict addresses in the proxy instead",
    );
  for (const [index, { cidrs, enabled }] of auth.keys.entries())
    if (enabled && cidrs.length > 0) warn(["auth", "keys", index, "cidrs"]);
  const placed = [
    ...rules.map(({ when }, index) => ({ path: ["rules", index], when })),
    ...policies.flatMap((policy, at) =>
      policy.rules.map(({ when }, index) => ({ path: ["policies", at, "rules", index], when })),
    ),
  ];
  for (const { path, when = {} } of placed) {
    // Such a rule does not apply to requests through the proxy, which must add a forwarding header.
    if (when["source.forwarded"]?.eq === false) continue;
    for (const subject of ["source.ip", "source.loopback"])
      if (Object.hasOwn(when, subject)) warn([...path, "when", subject]);
  }
}

function nobody({ listen, auth }: Config, report: Report): void {
  if (auth.type !== "none") {
    if (auth.roles) report.problem(["auth", "roles"], "has an effect only with type: none; keys have their own roles");
    return;
  }
  if (!auth.roles)
    report.problem(["auth"], "type: none requires roles, which say what everybody may do; for example roles: [reader]");
  if (auth.keys.length > 0)
    report.problem(["auth", "keys"], "type: none does not check keys; remove the keys or the type");
  if (!isLoopback(listen.http.host))
    report.problem(["auth"], "type: none is allowed on loopback only; listen on 127.0.0.1");
  if (listen.behindTlsProxy)
    report.problem(["auth"], "type: none is not allowed behind a proxy, since it would let everybody in");
}
