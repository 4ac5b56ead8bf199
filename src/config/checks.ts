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

/** Finds problems and doubts in rules and policies of correct shape, given the servers and roles. */
export type ExaminePolicy = (
  policy: Pick<Config, "rules" | "policies"> & {
    readonly servers: readonly string[];
    readonly carriers: readonly Carrier[];
  },
) => Findings;

type Check = (config: Config, report: Report, written: Written) => void;
type Server = Config["servers"][number];
type ServerCheck = (server: Server, at: Path, report: Report) => void;

/** Finds everything that a single key of the file cannot show: duplicates, contradictions, references to nothing. */
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

/** The index of each value that occurred before, and where it did first. */
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
  report.warn(["servers"], "no server is in use: callers get the gateway's own tools at most");
}

function times({ timeout, maxTimeout, idleStop }: Server, at: Path, report: Report): void {
  if (maxTimeout !== undefined && maxTimeout < timeout) {
    const message = `is below timeout (${formatDuration(timeout)}), which progress can only extend`;
    report.problem([...at, "maxTimeout"], message);
  }
  if (idleStop > 0) return;
  const message =
    "0s stops an instance as soon as it is unused, so that most calls start one; for never write e.g. 365d";
  report.warn([...at, "idleStop"], message);
}

/** Options of a server that its transport cannot honour. */
function transports(server: Server, at: Path, report: Report): void {
  const transport = "url" in server ? server.transport : null;
  if (server.protocol === "modern" && (transport === "sse" || "builtin" in server)) {
    const what = transport === "sse" ? "over the older pair of endpoints" : "by a builtin server";
    report.problem([...at, "protocol"], `modern is not spoken ${what}; write auto or leave it out`);
  }
  if ("url" in server && transport !== "http" && server.getStream === "off") {
    const message = `has a meaning only with transport: http; over ${transport} the one stream is always open`;
    report.problem([...at, "getStream"], message);
  }
}

/** Headers that the gateway itself sends to servers. */
const ownHeaders =
  /^(accept|accept-encoding|content-type|content-length|last-event-id|mcp-(protocol-version|session-id|method|name|param-.*))$/;

const headerName = /^[\w!#$%&'*+.^`|~-]+$/;
/** What HTTP carries of a value; line ends around it are left out. */
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
    if (!headerName.test(name)) problem(name, "is no name of an HTTP header");
    else if (!headerValue.test(value.replace(/^[\r\n]+|[\r\n]+$/g, "")))
      problem(name, "has characters that no HTTP header may carry, such as a line break in a secret");
  }
  for (const [which, first] of repeated(lower)) problem(names[which], `is the same header as ${names[first]}`);
}

function serverIds({ servers }: Config, report: Report): void {
  for (const [index, { id }] of servers.entries()) {
    if (reservedServers.has(id)) report.problem(["servers", index, "id"], `"${id}" is reserved; choose another id`);
  }
  for (const [index, first] of repeated(servers.map(({ id }) => id))) {
    report.problem(["servers", index, "id"], `servers[${first}] has this id already`);
  }
}

/** Without a sandbox, programs of one user can look into each other. */
function neighbours({ servers }: Config, report: Report): void {
  const programs = servers.flatMap((server, index) =>
    "command" in server && server.enabled ? [{ server, index }] : [],
  );
  if (programs.length < 2) return;
  for (const { server, index } of programs) {
    if (Object.keys(server.env).length === 0) continue;
    const message =
      "the other servers that are programs can read these values through /proc: they run as the same user, without a sandbox";
    return report.warn(["servers", index, "env"], message);
  }
}

/** What a shell would replace: a server would get it as it is written. An argument may well be meant for a shell. */
function shellVariables({ servers }: Config, report: Report, written: Written): void {
  for (const [index, server] of servers.entries()) {
    const option = "env" in server ? "env" : "headers";
    const values = "env" in server ? server.env : "headers" in server ? server.headers : {};
    for (const [key, value] of Object.entries(values)) {
      const path = ["servers", index, option, key];
      const name = written(path) === null ? shellVariable.exec(value)?.[1] : undefined;
      if (name !== undefined) report.warn(path, `$${name} is not replaced; write \${${name}}`);
    }
  }
}

/** A shell would replace `~`: here it names a directory beside the file. */
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
    if (text?.startsWith("~/")) report.warn(path, `~ is not replaced; write \${HOME}${text.slice(1)}`);
  }
}

function plainHttp(server: Server, at: Path, report: Report): void {
  if (!("url" in server)) return;
  const { protocol, hostname } = new URL(server.url);
  const socket = protocol === "ws:" || protocol === "wss:";
  if (socket !== (server.transport === "websocket")) {
    report.problem([...at, "transport"], "ws:// and wss:// go with transport: websocket, and only with it");
  }
  if (protocol === "https:" || protocol === "wss:" || isLoopback(hostname.replace(/^\[|\]$/g, ""))) return;
  report.warn([...at, "url"], `plain ${protocol}// off this machine: anyone on the way reads calls and headers`);
}

function keys({ auth }: Config, report: Report): void {
  const at = (index: number): Path => ["auth", "keys", index];
  for (const [index, first] of repeated(auth.keys.map(({ id }) => id))) {
    report.problem([...at(index), "id"], `auth.keys[${first}] has this id already`);
  }
  for (const [index, { enabled, expiresAt }] of auth.keys.entries()) {
    if (!enabled || expiresAt === undefined || Date.parse(expiresAt) > Date.now()) continue;
    report.warn([...at(index), "expiresAt"], "has passed, so the key is refused; remove the key, or give a later time");
  }
  const hashes = auth.keys.map(({ key, keyHash: hash }) => (key === undefined ? hash : keyHash(hashKey(key))));
  for (const [index, first] of repeated(hashes)) {
    report.problem(at(index), `this is the same key as auth.keys[${first}]`);
  }
}

function toolLimits({ limits, servers }: Config, report: Report): void {
  if (limits.burst !== undefined && limits.perMinute === undefined) {
    report.problem(["limits", "burst"], "without limits.perMinute it limits nothing; set that too");
  }
  if (limits.perMinute === 0) {
    report.warn(["limits", "perMinute"], "0 refuses every call; leave it out to set no limit");
  }
  const known = [ownServer, ...servers.map(({ id }) => id)];
  for (const [index, { tool, server: beside }] of limits.perTool.entries()) {
    const at = ["limits", "perTool", index];
    const { server, name } = splitSelector(tool, beside);
    const meant = known.filter(compileGlob(server ?? "*"));
    // A server that is a gateway itself has such names.
    const fault = nameFault(name, meant, beside !== undefined, besideServer("tool"));
    if (fault !== null) report.warn([...at, "tool"], fault);
    if (meant.length === 0) report.warn(at, `there is no server "${server}": this limit never counts`);
  }
}

function exposure({ listen, auth }: Config, report: Report): void {
  const outside = !isLoopback(listen.http.host);
  if (listen.tls && listen.behindTlsProxy) {
    report.problem(["listen", "tls"], "tls and behindTlsProxy exclude each other; keep one");
  }
  if (outside && auth.type !== "none" && !listen.tls && !listen.behindTlsProxy) {
    report.problem(
      ["listen", "http"],
      "off loopback keys must not travel in plain; set listen.tls or behindTlsProxy: true",
    );
  }
}

/** Who can add a forwarding header could pose as any address, so only that of the connection counts. */
function proxied({ listen, auth, rules, policies }: Config, report: Report): void {
  if (!listen.behindTlsProxy) return;
  const warn = (path: Path): void =>
    report.warn(
      path,
      "is held against the address of the proxy, which all calls come from; let the proxy refuse others",
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
    // Such a rule is about nothing that a proxy passes on with a header of that kind, which it has to send.
    if (when["source.forwarded"]?.eq === false) continue;
    for (const subject of ["source.ip", "source.loopback"])
      if (Object.hasOwn(when, subject)) warn([...path, "when", subject]);
  }
}

function nobody({ listen, auth }: Config, report: Report): void {
  if (auth.type !== "none") {
    if (auth.roles) report.problem(["auth", "roles"], "has a meaning only with type: none; keys carry their own roles");
    return;
  }
  if (!auth.roles) report.problem(["auth"], "type: none needs roles: what everybody may do, e.g. roles: [reader]");
  if (auth.keys.length > 0) report.problem(["auth", "keys"], "type: none asks for no key; remove the keys or the type");
  if (!isLoopback(listen.http.host)) report.problem(["auth"], "type: none is for loopback only; listen on 127.0.0.1");
  if (listen.behindTlsProxy)
    report.problem(["auth"], "type: none is refused behind a proxy: everybody would be let in");
}
