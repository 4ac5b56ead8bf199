import { existsSync } from "node:fs";
import { chmod, mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { binary, ensureBinary, stale } from "./build.ts";
import { type Captured, capture } from "./capture.ts";
import { home, paths, quote, readConfig, shortSocket } from "./demo.ts";

// Prepares what `scripts/start` needs before the daemon: binary, configuration, free port, key and .mcpgw/env.

const env: Record<string, string> = { MCPGW_CONFIG: paths.config, MCPGW_STATE: paths.state };

const run = (args: readonly string[]): Promise<Captured> =>
  capture([binary, ...args], { env: { ...process.env, ...env } });

/** Runs dist/mcpgw on the demo's files. If it fails, this process prints its message and exits. */
async function mcpgw(...args: string[]): Promise<string> {
  const { out, err, code } = await run(args);
  if (code === 0) return out;
  console.error(`mcpgw ${args.join(" ")} failed with exit code ${code}\n${err}`);
  process.exit(1);
}

function isFree(hostname: string, port: number): boolean {
  try {
    Bun.listen({ hostname, port, socket: { data() {} } }).stop(true);
    return true;
  } catch {
    return false;
  }
}

/** Returns `wanted`, or the next free address after it on the same host. */
function freeAddress(wanted: string): string {
  const colon = wanted.lastIndexOf(":");
  const host = wanted.slice(0, colon);
  const first = Number(wanted.slice(colon + 1));
  const bare = host.replace(/^\[|\]$/g, "");
  for (let port = first; port < Math.min(first + 100, 65_536); port++) {
    if (!isFree(bare, port)) continue;
    if (port !== first) console.log(`port ${first} is in use; this run listens on ${port}`);
    return `${host}:${port}`;
  }
  console.error(
    `no free port on ${host} in the 100 ports from ${first}; set another port with listen.http in ${paths.config}`,
  );
  process.exit(1);
}

async function ensureKey(role: string): Promise<void> {
  if (existsSync(paths.key) && existsSync(join(paths.state, "mcpgw.db"))) return chmod(paths.key, 0o600);
  const made = JSON.parse(await mcpgw("keys", "create", "demo", "demo", role, "--json")) as { key: string };
  await Bun.write(paths.key, `${made.key}\n`, { mode: 0o600 });
  // The mode of a write applies only to a file that the write creates.
  await chmod(paths.key, 0o600);
}

await mkdir(home, { recursive: true, mode: 0o700 });
await chmod(home, 0o700);
if (stale()) console.log("building dist/mcpgw");
await ensureBinary();
// The files created from here on are private to this user; the executable is not.
process.umask(0o077);
const socket = shortSocket(paths.state, process.env["XDG_RUNTIME_DIR"] || tmpdir());
if (socket !== null) env["MCPGW_SOCKET"] = socket;
if (!existsSync(paths.config)) {
  await mcpgw("init", "--demo", "--config", paths.config);
  if (Bun.which("npx") === null) console.log("npx is not installed, so the demo runs without the everything server");
}
if (existsSync(paths.state) && (await run(["status", "--json"])).code === 0) {
  console.error("the demo of this checkout is already running; run `. .mcpgw/env` and then `mcpgw status` to see it");
  process.exit(1);
}
const config = readConfig(await Bun.file(paths.config).text());
await ensureKey(config.role);
const address = freeAddress(config.listen);
await Bun.write(
  paths.env,
  [
    "# Source this file to use the demo's gateway from a shell.",
    ...Object.entries(env).map(([name, value]) => `export ${name}=${quote(value)}`),
    `export PATH=${quote(join(binary, ".."))}:"$PATH"`,
    `MCPGW_ADDRESS=${quote(address)}`,
    'MCPGW_URL="http://$MCPGW_ADDRESS/mcp"',
    `MCPGW_DEMO_KEY=$(cat ${quote(paths.key)})`,
    "",
  ].join("\n"),
);
