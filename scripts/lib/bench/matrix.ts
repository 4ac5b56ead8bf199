import { join } from "node:path";
import { residentMiB, start } from "./children.ts";
import { callOf, check, type Durability, openSession, startGateway, upstreams } from "./gateway.ts";
import type { Load, Request, Sample } from "./load.ts";
import { startNginx } from "./nginx.ts";
import { measurePipe } from "./pipe.ts";
import { medians } from "./stats.ts";

export type Effort = { readonly callers: readonly number[]; readonly rounds: number; readonly seconds: number };

/** The medians of one way to an upstream with this number of callers. */
export type Row = Sample & {
  readonly upstream: "HTTP" | "stdio";
  readonly way: "direct" | "nginx" | "bare relay" | Durability;
  readonly callers: number;
};

/** Memory of one gateway in MiB; null if there is no /proc. */
type Memory = { readonly way: Durability; readonly idle: number | null; readonly loaded: number | null };

export type Matrix = { readonly rows: readonly Row[]; readonly memory: readonly Memory[]; readonly nginx: boolean };

type Way = Pick<Row, "upstream" | "way"> & { run(callers: number, seconds: number): Promise<Sample> };

function overHttp(load: Load, upstream: Way["upstream"], way: Way["way"], request: Request): Way {
  return { upstream, way, run: (callers, seconds) => load.run(request, callers, seconds) };
}

/** Measures every way once per round, so that other load on the machine affects all of them equally. */
async function alternate(ways: readonly Way[], { callers, rounds, seconds }: Effort): Promise<Row[]> {
  const rows: Row[] = [];
  for (const count of callers) {
    const samples = new Map(ways.map((way) => [way, [] as Sample[]]));
    for (let round = 1; round <= rounds; round++) {
      console.error(`${count} callers, round ${round} of ${rounds}`);
      for (const way of ways) samples.get(way)?.push(await way.run(count, seconds));
    }
    for (const [{ upstream, way }, taken] of samples) rows.push({ upstream, way, callers: count, ...medians(taken) });
  }
  return rows;
}

/** Starts everything to be compared, with its files below `dir`, measures in turns, and stops it. */
export async function measureMatrix(dir: string, load: Load, effort: Effort): Promise<Matrix> {
  await using stack = new AsyncDisposableStack();
  const keep = <T extends { stop(): Promise<void> }>(one: T): T => {
    stack.defer(() => one.stop());
    return one;
  };
  const run = async (program: string, ...args: readonly string[]): Promise<number> => {
    const command = [process.execPath, join(import.meta.dir, program), ...args];
    return Number(await keep(start({ command, stdout: "pipe" })).firstLine);
  };
  const port = await run("upstream-http.ts");
  const direct = callOf(`http://127.0.0.1:${port}/mcp`, "echo");
  const ways: Way[] = [overHttp(load, "HTTP", "direct", direct)];
  const nginx = await startNginx(join(dir, "nginx"), port);
  if (nginx) ways.push(overHttp(load, "HTTP", "nginx", callOf(`http://127.0.0.1:${keep(nginx).port}/mcp`, "echo")));
  const relay = await run("relay.ts", direct.url);
  ways.push(overHttp(load, "HTTP", "bare relay", callOf(`http://127.0.0.1:${relay}/mcp`, "echo")));
  ways.push({ upstream: "stdio", way: "direct", run: measurePipe });
  const memory: (() => Promise<Memory>)[] = [];
  for (const way of ["strict", "relaxed"] as const) {
    const gateway = keep(await startGateway(dir, way, upstreams(port)));
    const session = await openSession(gateway.url);
    const web = callOf(gateway.url, "web__echo", session);
    const pipe = callOf(gateway.url, "pipe__echo", session);
    for (const request of [web, pipe]) await check(request);
    ways.push(overHttp(load, "HTTP", way, web), overHttp(load, "stdio", way, pipe));
    memory.push(async () => ({ way, idle: gateway.idleMiB, loaded: await residentMiB(gateway.pid) }));
  }
  const rows = await alternate(ways, effort);
  return { rows, memory: await Promise.all(memory.map((read) => read())), nginx: nginx !== null };
}
