import { join } from "node:path";
import { type Call, type IdentifiedCall, type Reply, type Route, setCaller, type Tool } from "../../src/core/call.ts";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import type { Era, LogLevel } from "../../src/core/inbound.ts";
import { type Logger, silent } from "../../src/core/log.ts";
import type { AuditEvent } from "../../src/core/event.ts";
import { plainRoute } from "../../src/core/name.ts";
import type { LocalServer, Updated } from "../../src/core/ports.ts";
import type { Notice, UpstreamRequest } from "../../src/core/upstream.ts";
import type { Principal } from "../../src/core/principal.ts";
import type { RememberedEras, ListStore, Remembered } from "../../src/core/store.ts";
import { locate } from "../../src/mcp/json-text.ts";
import { builtinOptions, httpOptions, type ServerOptions, stdioOptions } from "../../src/upstream/options.ts";
import type { SetHost, Tuning } from "../../src/upstream/host.ts";
import { ManagedUpstreams } from "../../src/upstream/upstreams.ts";
import { makeCall, makeInbound, makeRoute, asBegun } from "./call.ts";
import { principal } from "./principal.ts";
import { linesOf } from "./seen.ts";
import { clientSession } from "./session.ts";

/** The command line of the scriptable MCP server. */
export const fakeArgs = (...args: string[]): string[] => [join(import.meta.dir, "../fixtures/fakemcp.ts"), ...args];

/** Intervals in ms, shorter than a configuration allows. */
type Intervals = { healthCheck?: number; refresh?: number };

/** Returns options of a server that runs fakemcp as a child. */
export function fake(
  id: string,
  args: string[] = [],
  { healthCheck, refresh, ...more }: Record<string, unknown> & Intervals = {},
): ServerOptions {
  // Detecting the era takes an extra process, which only the tests of the detection need.
  const protocol = args.includes("modern") ? "modern" : "legacy";
  const options = stdioOptions.parse({
    id,
    command: process.execPath,
    args: fakeArgs(...args),
    protocol,
    ...more,
  });
  return { ...options, healthCheck: healthCheck ?? options.healthCheck, refresh: refresh ?? options.refresh };
}

export const http = (id: string, url: string, more: Record<string, unknown> = {}): ServerOptions =>
  httpOptions.parse({ id, url, ...more });

/** A running server; disposing it stops it. */
export type Served = AsyncDisposable & { readonly options: ServerOptions; readonly url: string };

/** Starts fakemcp as a separate server; returns options for reaching it. */
export async function serveFake(
  args: string[],
  more: Record<string, unknown> = {},
  env: Record<string, string> = {},
): Promise<Served> {
  // Inherited descriptors would stay open as long as it runs.
  const child = Bun.spawn([process.execPath, ...fakeArgs(...args)], {
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, ...env },
  });
  const stderr = child.stderr.text();
  const { value: url } = await linesOf(child.stdout).next();
  if (url === undefined) throw new Error(`fakemcp ${args.join(" ")} did not start:\n${await stderr}`);
  const transport = url.startsWith("ws") ? { transport: "websocket" } : {};
  const end = async (): Promise<void> => {
    child.kill("SIGKILL");
    await child.exited;
  };
  return { options: http("fake", url, { ...transport, ...more }), url, [Symbol.asyncDispose]: end };
}

export const builtin = (id: string): ServerOptions => builtinOptions.parse({ id, builtin: "calculator" });

/** Times short enough for tests. */
export const quick: Tuning = {
  breaker: { first: 20, most: 200, failures: 5, window: 5_000, rest: 300 },
  patience: { close: 150, term: 150 },
  start: 20_000,
  probe: 1_000,
  debounce: 20,
};

export type Harness = ManagedUpstreams & {
  readonly events: AuditEvent[];
  readonly warnings: string[];
  /** What servers sent outside of any exchange. */
  readonly notices: Notice[];
  /** Calls a tool as `who` (default: alice). */
  ask(server: string, tool: string, args?: unknown, more?: AskOptions): Promise<Reply>;
  /** Subscribes alice to a resource. */
  follow(server: string, uri: string, updated: Updated, era?: Era): Promise<() => void>;
  [Symbol.asyncDispose](): Promise<void>;
};

export type AskOptions = {
  who?: Principal;
  controller?: AbortController;
  token?: string;
  emit?: (notification: string) => void;
  /** The tool's input schema; by default it accepts any object. */
  inputSchema?: Tool["inputSchema"] | undefined;
  /** What the client declares: in the request (modern) or in its session. */
  declares?: Record<string, unknown>;
  era?: Era;
  /** Id of the caller's legacy session; by default it has none. */
  session?: string | undefined;
  logLevel?: LogLevel;
  input?: Call["input"];
  /** A request to send instead of a tool call. */
  request?: UpstreamRequest;
};

/** Returns the names of the tools that the first server offers. */
export const toolNames = (set: ManagedUpstreams): string[] => set.listings()[0]?.tools.map(({ name }) => name) ?? [];

export type MemoryLists = ListStore & {
  readonly remembered: Map<string, Remembered>;
  readonly eras: Map<string, RememberedEras>;
};

export function memoryLists(): MemoryLists {
  const remembered = new Map<string, Remembered>();
  const eras = new Map<string, RememberedEras>();
  const hashes = new Map<string, string>();
  return {
    remembered,
    eras,
    recall: (server) => remembered.get(server) ?? null,
    remember(server, hash, offers) {
      remembered.set(server, offers);
      hashes.set(server, hash);
    },
    recallEras: (server) => eras.get(server) ?? null,
    rememberEras: (server, _hash, known) => void (known ? eras.set(server, known) : eras.delete(server)),
    forget(server, hash) {
      if (hashes.get(server) === hash) for (const known of [remembered, eras]) known.delete(server);
    },
  };
}

export type HarnessOptions = {
  local?: LocalServer[];
  previous?: ManagedUpstreams;
  lists?: ListStore;
  clock?: Clock;
  /** Receives the lines of the level info. */
  info?: Logger["info"];
  tuning?: Partial<Tuning>;
  result?: number;
  run?: string;
  /** The name that the gateway reports. */
  name?: string;
  /** The program that the gateway itself is. */
  program?: string;
  refuses?: (tool: Tool) => string | null;
  refusesOutput?: (schema: Record<string, unknown>) => string | null;
  unchecked?: (tool: Tool) => readonly string[];
  /** Called with what servers send outside of any exchange. */
  notice?: SetHost["notice"];
  /** Answers what servers ask outside of calls. */
  askSession?: SetHost["askSession"];
  /** Whether clients can be asked outside of calls; by default if there is `askSession`. */
  listens?: boolean | (() => boolean);
};

/** Starts a set of managed servers. */
export function upstreams(servers: ServerOptions[], options: HarnessOptions = {}): Harness {
  // No other part of the options is kept, since that would keep a previous set in memory.
  const { listens = options.askSession !== undefined } = options;
  const events: AuditEvent[] = [];
  const warnings: string[] = [];
  const notices: Notice[] = [];
  const log: Logger = {
    ...silent,
    info: options.info ?? silent.info,
    warn: (message, facts) => void warnings.push(`${message} ${JSON.stringify(facts)}`),
  };
  const { program = process.execPath } = options;
  const main = join(import.meta.dir, "../fixtures/upstream-main.ts");
  const set = new ManagedUpstreams({
    servers,
    local: options.local ?? [],
    limits: { result: options.result ?? 16 * 1024 ** 2, depth: 64, nodes: 100_000, batch: 100 },
    clock: options.clock ?? systemClock,
    log,
    lists: options.lists ?? memoryLists(),
    self: {
      command: (...args) => [program, main, ...args],
      housekeeper: new URL(import.meta.url),
      version: "0",
    },
    run: options.run ?? `test-${crypto.randomUUID()}`,
    client: { name: options.name ?? "mcpgw", version: "0" },
    refuses: options.refuses ?? (() => null),
    refusesOutput: options.refusesOutput ?? (() => null),
    unchecked: options.unchecked ?? (() => []),
    record: (event) => void events.push(event),
    notice: options.notice ?? ((notice) => void notices.push(notice)),
    secrets: () => [],
    askSession: options.askSession ?? (() => Promise.reject(new Error("nobody is there"))),
    canAskSession: typeof listens === "function" ? listens : () => listens,
    previous: options.previous ?? null,
    tuning: { ...quick, ...options.tuning },
  });
  set.activate();
  const ask: Harness["ask"] = (server, tool, args = {}, more = {}) => {
    const route = makeRoute(server, tool, more.inputSchema);
    const call = asBegun(callTo(tool, args, more), more.request ? { ...route, tool: null } : route);
    return set.send(call, more.request ?? requestTo(tool));
  };
  const follow: Harness["follow"] = (server, uri, updated, era = "legacy") =>
    set.subscribe(callTo("x", {}, { era }), resourceRoute(server, uri), updated);
  const dispose = (): Promise<void> => set.close(0);
  return Object.assign(set, { events, warnings, notices, ask, follow, [Symbol.asyncDispose]: dispose });
}

/** Starts a set of managed servers, and resolves once each has been listed or has failed. */
export async function listed(servers: ServerOptions[], options: HarnessOptions = {}): Promise<Harness> {
  const set = upstreams(servers, options);
  await set.settled();
  return set;
}

export const resourceRoute = (server: string, uri: string): Route => plainRoute("resource", server, uri, uri);

export const requestTo = (name: string): UpstreamRequest => ({
  method: "tools/call",
  edits: { name: JSON.stringify(name) },
});

let serial = 0;

export function callTo(name: string, args: unknown, more: AskOptions = {}): IdentifiedCall {
  const { controller, token, emit, era = "legacy", logLevel = null, declares = {} } = more;
  const meta = token === undefined ? "" : `,"_meta":{"progressToken":${token}}`;
  const params = `{"name":"wire__${name}","arguments":${typeof args === "string" ? args : JSON.stringify(args)}${meta}}`;
  const text = `{"jsonrpc":"2.0","id":0,"method":"tools/call","params":${params}}`;
  const at = locate(text, 0, "params") ?? [0, 0];
  const capabilities = { text: JSON.stringify(declares), value: declares };
  const call = makeCall({
    id: `call-${++serial}`,
    inbound: {
      ...makeInbound(JSON.parse(params) as Record<string, unknown>, "tools/call"),
      era,
      revision: era === "legacy" ? "2025-11-25" : "2026-07-28",
      text,
      idText: "0",
      spans: { params: at, arguments: locate(text, at[0], "arguments") },
      progressToken: token ?? null,
      capabilities: more.session === undefined ? capabilities : null,
      logLevel: era === "modern" ? logLevel : null,
    },
    session: more.session === undefined ? null : { ...clientSession(more.session, capabilities), logLevel },
    controller: controller ?? new AbortController(),
    emit: emit ?? null,
  });
  call.input = more.input ?? null;
  setCaller(call, more.who ?? principal("alice"));
  return call;
}

/** Returns the text of a reply's first content block. */
export function textOf(reply: Reply): string {
  const result = JSON.parse(reply.text) as { content?: { text?: string }[]; message?: string };
  return result.content?.[0]?.text ?? result.message ?? "";
}

/** Returns the parsed text of a reply's first content block. */
export const jsonOf = (reply: Reply): Record<string, unknown> => JSON.parse(textOf(reply)) as Record<string, unknown>;

/** Returns the `params` of a notification. */
export const paramsOf = (notification: string): Record<string, unknown> =>
  (JSON.parse(notification) as { params: Record<string, unknown> }).params;
