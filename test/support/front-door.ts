import type { Call, IdentifiedCall, Reply, Tool } from "../../src/core/call.ts";
import { onAbort } from "../../src/core/cancel.ts";
import { systemClock } from "../../src/core/clock.ts";
import { Failure } from "../../src/core/failure.ts";
import { type Logger, silent } from "../../src/core/log.ts";
import type { AuditEvent } from "../../src/core/event.ts";
import type { Catalog } from "../../src/core/ports.ts";
import { localSource, type Principal } from "../../src/core/principal.ts";
import type { Gateway } from "../../src/gateway/gateway.ts";
import { limitsOptions } from "../../src/limits/options.ts";
import { McpConnection } from "../../src/serve/connection.ts";
import { type HttpOptions, serveHttp } from "../../src/serve/http.ts";
import { Running } from "../../src/serve/running.ts";
import { finishSession } from "../../src/serve/session-records.ts";
import { Notifier } from "../../src/session/notifier.ts";
import { type SessionLimits, Sessions } from "../../src/session/sessions.ts";
import { Traffic } from "../../src/session/traffic.ts";
import { makeRoute } from "./call.ts";
import { plainGateway, quietAudit, quietUpstreams } from "./gateway.ts";
import { policyOf } from "./policy.ts";
import { principal } from "./principal.ts";
import { type Answer, answerOf, initialize, send, type Sending, sessionOf } from "./wire.ts";

/** What the one upstream behind the door does with a call. */
export type Behaviour = (call: IdentifiedCall) => Promise<Reply> | Reply;

type DoorOptions = {
  readonly host?: string;
  readonly scopes?: readonly string[];
  readonly sessionLimits?: Partial<SessionLimits>;
  readonly body?: number;
  /** If given, every descriptor counts as a connection. */
  readonly maxConnections?: number;
  readonly allowedOrigins?: readonly string[];
  /** If given, how long a call may be silent until its stream is opened. */
  readonly patience?: HttpOptions["patience"];
  readonly log?: Logger;
};

/** Returns the result of a tool: one block of text. */
export const said = (text: string): Reply => ({
  kind: "result",
  era: "legacy",
  text: JSON.stringify({ content: [{ type: "text", text }] }),
  isError: false,
  type: null,
});

/** A tool that runs until its call is aborted. */
export const hang = (call: Call): Promise<Reply> =>
  new Promise((_, reject) => onAbort(call.controller.signal, () => reject(new Failure("cancelled", "Cancelled."))));

/** Returns the id of the roots question on the stream of a call, and a function that reads until a text arrives. */
export async function askedOn({ body }: Response): Promise<{ id: number; until: (wanted: string) => Promise<void> }> {
  const reader = body!.getReader();
  const decoder = new TextDecoder();
  let text = "";
  const until = async (wanted: string): Promise<void> => {
    while (!text.includes(wanted)) text += decoder.decode((await reader.read()).value);
  };
  await until("roots/list");
  return { id: Number(/"id":(\d+),"method":"roots\/list"/.exec(text)?.[1]), until };
}

/** Everything from a gateway's real HTTP server to its servers, with one upstream that the test plays. */
export class Door implements AsyncDisposable {
  readonly url: string;
  readonly gw: Gateway;
  readonly sessions: Sessions;
  readonly running = new Running();
  readonly traffic = new Traffic();
  readonly notifier: Notifier;
  readonly events: AuditEvent[] = [];
  /** The calls that have ended. */
  readonly ended: Call[] = [];
  readonly endedSessions: string[] = [];
  /** The current content of the lists. */
  shown = "1";
  readonly #people = new Map<string, ReturnType<typeof principal>>();
  readonly #server: ReturnType<typeof serveHttp>;

  constructor(behave: Behaviour, options: DoorOptions = {}) {
    this.notifier = new Notifier(() => ({
      shown: () => this.shown,
      servers: () => new Set(),
      hasScopeFor: () => true,
    }));
    this.gw = this.#gateway(behave, options);
    this.sessions = new Sessions({
      clock: systemClock,
      traffic: this.traffic,
      ...(options.sessionLimits && { limits: options.sessionLimits }),
      onEnd: (session, reason) => finishSession(this.gw, session, reason),
    });
    const http: HttpOptions = {
      address: { host: options.host ?? "127.0.0.1", port: 0 },
      allowedHosts: [],
      allowedOrigins: options.allowedOrigins ?? [],
      tls: null,
      maxConnections: options.maxConnections ?? 4096,
      otherDescriptors: () => (options.maxConnections === undefined ? 1000 : 0),
      ...(options.patience && { patience: options.patience }),
      log: options.log ?? silent,
      current: () => this.gw,
      sessions: this.sessions,
      running: this.running,
      traffic: this.traffic,
      readiness: () => ({ ready: true, detail: {} }),
      metrics: () => "",
    };
    this.#server = serveHttp(http);
    this.url = this.#server.url;
  }

  /** Changes the limit on messages, as a reload does. */
  limit(body: number): void {
    Object.assign(this.gw, { caps: { ...this.gw.caps, body } });
    this.#server.refresh();
  }

  /** Returns the principal that presents this name as its key. */
  who(name: string): ReturnType<typeof principal> {
    return this.#people.getOrInsertComputed(name, () => principal(`key:${name}`));
  }

  /** Sends a message to a path and returns the response unread. */
  send(body: unknown, sending: Sending = {}): Promise<Response> {
    return send(this.url, body, { key: "alice", ...sending });
  }

  async post(body: unknown, sending: Sending = {}): Promise<Answer> {
    return answerOf(await this.send(body, sending));
  }

  request(method: string, { key = "alice", headers = {}, path = "/mcp", signal }: Sending = {}): Promise<Response> {
    const all = { accept: "text/event-stream", authorization: `Bearer ${key}`, ...headers };
    return fetch(`${this.url}${path}`, { method, headers: all, redirect: "manual", ...(signal && { signal }) });
  }

  /** Opens a legacy session; returns the headers for every further request. */
  async session(
    revision = "2025-11-25",
    { capabilities = {}, ...sending }: Sending & { capabilities?: Record<string, unknown> } = {},
  ): Promise<Record<string, string>> {
    return sessionOf(await this.post(initialize(revision, 0, capabilities), sending), revision);
  }

  /** Opens a connection of alice, as over a pipe; `send` is called with each outgoing message. */
  connection(send: (message: unknown) => void): McpConnection {
    return new McpConnection({
      current: () => this.gw,
      running: this.running,
      traffic: this.traffic,
      source: localSource("stdio"),
      credentials: [],
      vouched: this.who("alice"),
      scope: null,
      send: (message) => send(JSON.parse(message)),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.stop();
    await this.running.end(0, 1_000);
    this.sessions.endAll("shutdown");
    await this.#server.close();
  }

  #identify(raw: string | undefined): Principal {
    if (raw === undefined || raw === "") throw new Failure("unauthenticated", "No key was given.");
    const who = this.who(raw);
    if (who.revoked.aborted) throw new Failure("unauthenticated", "The key was revoked.");
    return who;
  }

  #gateway(behave: Behaviour, { scopes = [], body, log = silent }: DoorOptions): Gateway {
    return plainGateway({
      authn: { identify: ({ credentials, vouched }) => vouched ?? this.#identify(credentials[0]) },
      policy: policyOf([], { reader: [{ action: "allow" }, { server: "mcpgw", action: "allow" }] }),
      catalog: catalogOf(scopes, () => this.shown),
      upstreams: {
        ...quietUpstreams,
        send: async (call) => behave(call),
        endSession: (id) => void this.endedSessions.push(id),
      },
      audit: {
        ...quietAudit,
        end: async (call) => void this.ended.push(call),
        recordEvent: async (event) => void this.events.push(event),
      },
      notifier: this.notifier,
      log,
      caps: limitsOptions.parse({ body, batch: 5 }),
    });
  }
}

const tools: readonly Tool[] = ["echo"].map((name) => ({
  name,
  text: JSON.stringify({ name, inputSchema: { type: "object" } }),
  inputSchema: { type: "object" },
}));

function catalogOf(scopes: readonly string[], shown: () => string): Catalog {
  return {
    hasScope: (scope) => scopes.includes(scope),
    hasScopeFor: (scope) => scopes.includes(scope),
    offers: () => true,
    resolve: (_call, _kind, name) => makeRoute("play", String(name)),
    admits: () => true,
    find: () => null,
    routeTo: (_kind, server, name) => makeRoute(server, name),
    locate: () => [],
    servers: () => new Set(),
    outgoing: (_route, result) => result,
    below: (route) => route,
    list: () => `{"tools":[${tools.map(({ text }) => text).join(",")}]}`,
    tools: () => [],
    shown,
    instructions: () => null,
    routes: () => [],
    missing: () => [],
    allMissing: () => [],
  };
}
