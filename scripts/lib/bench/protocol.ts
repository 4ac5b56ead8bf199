import { join } from "node:path";
import { many } from "./answer.ts";
import { residentMiB, start } from "./children.ts";
import { callOf, type Gateway, openSession, startGateway, upstreams } from "./gateway.ts";
import type { Request } from "./load.ts";
import { median, quantile } from "./stats.ts";

/** The costs of the protocol other than plain calls. */
export type Protocol = {
  /** KiB of one of 10,000 idle legacy sessions; null if it could not be measured. */
  readonly sessionKiB: number | null;
  /** Time to fetch the whole list of 10,000 tools of 50 servers, page by page, p99 in ms. */
  readonly listMs: number;
  /** Time that the gateway adds to each of 1,000 progress notifications, µs. */
  readonly progressUs: number;
};

const sessions = 10_000;
const opening = 32;
/** Time until unused memory has been returned, ms. */
const settleMs = 3_000;

async function measureSessions({ pid, url }: Gateway): Promise<number | null> {
  // The first sessions also allocate memory that does not belong to a session.
  await open(url, 500, 0);
  await Bun.sleep(settleMs);
  const before = await residentMiB(pid);
  await open(url, sessions, 500);
  await Bun.sleep(settleMs);
  const after = await residentMiB(pid);
  return before === null || after === null ? null : ((after - before) * 1024) / (sessions - 500);
}

/** Opens the sessions from `from` up to `upto`, the same number for each caller. */
async function open(url: string, upto: number, from: number): Promise<void> {
  let next = from;
  const worker = async (): Promise<void> => {
    while (next < upto) await openSession(url, next++);
  };
  await Promise.all(Array.from({ length: opening }, worker));
}

async function post({ url, headers, body }: Request): Promise<string> {
  const response = await fetch(url, { method: "POST", headers, body });
  return response.text();
}

function listRequest(url: string, headers: Record<string, string>, cursor: string | undefined): Request {
  const { headers: common } = callOf(url, "echo", headers);
  const params = cursor === undefined ? {} : { cursor };
  return { url, headers: common, body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params }) };
}

type Page = { readonly result: { readonly tools: readonly unknown[]; readonly nextCursor?: string } };

async function drawList(url: string, headers: Record<string, string>): Promise<number> {
  let count = 0;
  let cursor: string | undefined;
  do {
    const page = JSON.parse(await post(listRequest(url, headers, cursor))) as Page;
    count += page.result.tools.length;
    cursor = page.result.nextCursor;
  } while (cursor !== undefined);
  return count;
}

async function measureList(dir: string, port: number, rounds: number): Promise<number> {
  const servers = Array.from({ length: many.servers }, (_, index) => ({
    id: `many-${index}`,
    url: `http://127.0.0.1:${port}/many/${index}`,
    isolation: "shared",
  }));
  const gateway = await startGateway(join(dir, "many"), "relaxed", servers);
  try {
    const session = await openSession(gateway.url);
    const times: number[] = [];
    for (let round = 0; round <= rounds; round++) {
      const started = performance.now();
      const count = await drawList(gateway.url, session);
      if (count < many.servers * many.tools) throw new Error(`the list has only ${count} tools`);
      // The first round fills the cache.
      if (round > 0) times.push(performance.now() - started);
    }
    return quantile(times, 0.99);
  } finally {
    await gateway.stop();
  }
}

async function measureProgress(gateway: Gateway, port: number, rounds: number): Promise<number> {
  const session = await openSession(gateway.url);
  const streamed = (url: string, name: string, headers: Record<string, string> = {}): Request => {
    const request = callOf(url, name, headers);
    const params = { name, arguments: { text: "ping" }, _meta: { progressToken: "p" } };
    return { ...request, body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params }) };
  };
  const direct = streamed(`http://127.0.0.1:${port}/mcp`, "echo_steps");
  const through = streamed(gateway.url, "web__echo_steps", session);
  const times = { direct: [] as number[], through: [] as number[] };
  for (let round = 0; round <= rounds; round++) {
    for (const [way, request] of [["direct", direct] as const, ["through", through] as const]) {
      const started = performance.now();
      const text = await post(request);
      const heard = text.split("notifications/progress").length - 1;
      if (heard !== 1000) throw new Error(`${way}: ${heard} of 1000 notifications arrived`);
      if (round > 0) times[way].push(performance.now() - started);
    }
  }
  return median(times.through) - median(times.direct);
}

/** Measures sessions, a long list and a stream of progress, with files below `dir`. */
export async function measureProtocol(dir: string, rounds: number): Promise<Protocol> {
  const program = join(import.meta.dir, "upstream-http.ts");
  const upstream = start({ command: [process.execPath, program], stdout: "pipe" });
  try {
    const port = Number(await upstream.firstLine);
    const gateway = await startGateway(dir, "relaxed", upstreams(port));
    try {
      // There are 1,000 notifications, so a difference in ms is µs per notification.
      const progressUs = await measureProgress(gateway, port, rounds);
      const sessionKiB = await measureSessions(gateway);
      return { progressUs, sessionKiB, listMs: await measureList(dir, port, rounds * 10) };
    } finally {
      await gateway.stop();
    }
  } finally {
    await upstream.stop();
  }
}
