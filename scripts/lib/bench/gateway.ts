import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { binary } from "../build.ts";
import { freePort, type Running, reachable, residentMiB, start } from "./children.ts";
import type { Request } from "./load.ts";

export type Durability = "strict" | "relaxed";

export type Gateway = Running & {
  readonly url: string;
  /** Time from its start until /ready reported it ready. */
  readonly readyMs: number;
  /** MiB once ready and before the first call; null if there is no /proc. */
  readonly idleMiB: number | null;
};

/** Enough callers for 10,000 sessions; one key may have 1,000 of them. */
const callers = 10;

// Keys in an operator's own format; keys in the gateway's format would need a checksum.
const keyOf = (caller: number): string => `bench-${caller}-Q7xT2mVb9KpL4sRw8HnJ3cZf6DgY5uAaE1iOtB0vNqXk`;

/** Returns a configuration with every check of a call turned on, and limits so high that they never refuse. */
function config(durability: Durability, port: number, servers: readonly object[]): object {
  const hashOf = (caller: number): string => Bun.SHA256.hash(keyOf(caller), "hex");
  const keys = Array.from({ length: callers }, (_, caller) => ({
    id: `bench-${caller}`,
    keyHash: `sha256:${hashOf(caller)}`,
    consumerId: "bench",
    roles: ["bench"],
  }));
  return {
    listen: { http: `127.0.0.1:${port}` },
    auth: { keys },
    servers,
    rules: [{ id: "no-drop", tool: "*drop*", action: "deny" }],
    policies: [{ id: "bench", roles: ["bench"], rules: [{ tool: "echo*", action: "allow" }] }],
    limits: { perMinute: 600_000_000, burst: 100_000_000 },
    audit: { durability, payloads: "full" },
    log: { level: "warn" },
  };
}

/** Returns the upstreams of a measurement: the HTTP server that is already running, and a child of the gateway. */
export function upstreams(port: number): object[] {
  const child = join(import.meta.dir, "upstream-stdio.ts");
  return [
    { id: "web", url: `http://127.0.0.1:${port}/mcp`, isolation: "shared" },
    { id: "pipe", command: process.execPath, args: [child], isolation: "shared" },
  ];
}

/** Starts dist/mcpgw on a fresh state directory below `dir`; resolves when it is ready. */
export async function startGateway(dir: string, durability: Durability, servers: readonly object[]): Promise<Gateway> {
  const home = join(dir, durability);
  await rm(home, { recursive: true, force: true });
  await mkdir(home, { recursive: true, mode: 0o700 });
  const port = freePort();
  const file = join(home, "gateway.json");
  await Bun.write(file, JSON.stringify(config(durability, port, servers)));
  const flags = ["--config", file, "--state", join(home, "state")];
  const started = performance.now();
  const running = start({ command: [binary, ...flags, "daemon"], env: { XDG_STATE_HOME: home } });
  const origin = `http://127.0.0.1:${port}`;
  try {
    await reachable(`${origin}/ready`, 20_000);
  } catch (error) {
    await running.stop();
    throw error;
  }
  const readyMs = performance.now() - started;
  // Idle memory is read after the start has settled.
  await Bun.sleep(settleMs);
  return { ...running, url: `${origin}/mcp`, readyMs, idleMiB: await residentMiB(running.pid) };
}

/** Time until a started process has settled, ms. */
const settleMs = 2_000;

const common = { "Content-Type": "application/json", Accept: "application/json, text/event-stream" };

/** Returns a call of `name`, as a legacy client sends it. */
export function callOf(url: string, name: string, extra: Readonly<Record<string, string>> = {}): Request {
  const params = { name, arguments: { text: "ping" } };
  return {
    url,
    headers: { ...common, ...extra },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params }),
  };
}

/** Opens a session of a caller as a legacy client does. Returns the headers for its calls. */
export async function openSession(url: string, caller = 0): Promise<Record<string, string>> {
  const headers = { ...common, Authorization: `Bearer ${keyOf(caller % callers)}` };
  const params = {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo: { name: "bench", version: "1" },
  };
  const post = (body: object, extra: Record<string, string> = {}): Promise<Response> =>
    fetch(url, {
      method: "POST",
      headers: { ...headers, ...extra },
      body: JSON.stringify({ jsonrpc: "2.0", ...body }),
    });
  const opened = await post({ id: 1, method: "initialize", params });
  if (!opened.ok) throw new Error(`initialize failed: HTTP ${opened.status} ${await opened.text()}`);
  const session = opened.headers.get("Mcp-Session-Id");
  const mine = {
    Authorization: headers.Authorization,
    "MCP-Protocol-Version": params.protocolVersion,
    ...(session !== null && { "Mcp-Session-Id": session }),
  };
  await post({ method: "notifications/initialized" }, mine);
  return mine;
}

/** Sends the call once and throws unless the upstream answers it, because wrk counts a refusal as a success. */
export async function check({ url, headers, body }: Request): Promise<void> {
  const response = await fetch(url, { method: "POST", headers, body });
  const text = await response.text();
  if (response.ok && text.includes('"pong"') && !text.includes('"isError":true')) return;
  throw new Error(`the call to be measured fails: HTTP ${response.status} ${text.slice(0, 500)}`);
}
