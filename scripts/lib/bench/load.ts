import { join } from "node:path";
import { root } from "../build.ts";
import { capture } from "../capture.ts";

/** The request that is sent repeatedly. */
export type Request = {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

/** One measurement: calls per second, latencies in ms, and the number of answers that were not successful. */
export type Sample = { readonly rate: number; readonly p50: number; readonly p99: number; readonly errors: number };

/** Sends `request` over `callers` connections, one at a time on each connection, for `seconds`. */
export type Load = {
  readonly name: string;
  run(request: Request, callers: number, seconds: number): Promise<Sample>;
};

async function output(command: readonly string[], env: Record<string, string>): Promise<string> {
  const { out, err, code } = await capture(command, { cwd: root, env: { ...process.env, ...env } });
  if (code !== 0) throw new Error(`${command[0]} failed with exit code ${code}: ${err}${out}`);
  return out;
}

function sample(text: string): Sample {
  const line = text.split("\n").findLast((one) => one.startsWith("{"));
  if (line === undefined) throw new Error(`the load generator printed no result:\n${text}`);
  return JSON.parse(line) as Sample;
}

function throughWrk(program: string): Load {
  const script = join(root, "scripts/lib/bench/wrk.lua");
  return {
    name: "wrk",
    async run({ url, headers, body }, callers, seconds) {
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
      const env = { BENCH_HEADERS: lines.join("\n"), BENCH_BODY: body };
      const args = ["-t", "1", "-c", String(callers), "-d", `${seconds}s`, "--latency", "-s", script, url];
      return sample(await output([program, ...args], env));
    },
  };
}

const own: Load = {
  name: "own generator",
  async run(request, callers, seconds) {
    const program = join(root, "scripts/lib/bench/generator.ts");
    return sample(await output([process.execPath, program, JSON.stringify({ request, callers, seconds })], {}));
  },
};

/** Returns wrk if it is installed and not declined, else the project's own generator. */
export function pickLoad(declined: boolean): Load {
  const program = declined ? null : Bun.which("wrk");
  return program === null ? own : throughWrk(program);
}
