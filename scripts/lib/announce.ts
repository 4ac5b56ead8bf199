import { binary } from "./build.ts";
import { capture } from "./capture.ts";
import { paths, quote } from "./demo.ts";

// Prints how to use the demo once its daemon is ready; ends if the daemon ends before.

const [daemon = "", address = ""] = process.argv.slice(2);
const origin = `http://${address}`;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Waits up to a second. It does not use HTTP, which a proxy configured in the environment might intercept. */
const isReady = async (): Promise<boolean> => (await capture([binary, "status", "--wait", "1"])).code === 0;

const request = {
  jsonrpc: "2.0",
  id: 1,
  method: "tools/call",
  params: {
    name: "calculator__exact_calculate",
    arguments: { operator: "divide", operands: ["1", "3"], precision: 30 },
  },
};

function curl(url: string, key: string): string {
  return [
    `curl -sS -w '\\n' ${url}`,
    `-H ${quote(`Authorization: Bearer ${key}`)}`,
    "-H 'Content-Type: application/json'",
    "-H 'Accept: application/json, text/event-stream'",
    `-d ${quote(JSON.stringify(request))}`,
  ].join(" \\\n  ");
}

/** Returns one line per managed server: its state, and why it is not ready. */
async function servers(): Promise<string> {
  const { out, err, code } = await capture([binary, "servers", "list", "--json"]);
  if (code !== 0) return `the servers could not be listed: ${err.trim()}`;
  const list = JSON.parse(out) as { servers: { id: string; state: string; tools: number; reason: string | null }[] };
  return list.servers
    .map(({ id, state, tools, reason }) => `  ${id}: ${state}, ${tools} tools${reason ? ` (${reason})` : ""}`)
    .join("\n");
}

async function announce(): Promise<void> {
  const url = `${origin}/mcp`;
  const deadline = performance.now() + 120_000;
  while (!(await isReady())) {
    if (!isAlive(Number(daemon))) return;
    if (performance.now() > deadline) return console.log(`not ready after 120 s; see ${origin}/ready`);
  }
  const key = (await Bun.file(paths.key).text()).trim();
  const client = { mcpServers: { mcpgw: { type: "http", url, headers: { Authorization: `Bearer ${key}` } } } };
  console.log(`
mcpgw is ready.

MCP URL:   ${url}
demo key:  ${key}   (kept in .mcpgw/demo.key)
servers:
${await servers()}

Call a tool:

${curl(url, key)}

For an MCP client:

${JSON.stringify(client, null, 2)}

In another shell, run \`. .mcpgw/env\` and then mcpgw status, mcpgw tail, mcpgw audit verify, mcpgw tui.
Ctrl-C stops the daemon.
`);
}

await announce();
