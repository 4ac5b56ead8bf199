import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Daemon, everything, Place } from "../support/daemon.ts";
import { peerCommand } from "../support/peers.ts";
import { ended } from "../support/processes.ts";
import { connectAnswering } from "../support/sdk-answers.ts";
import { connect, type Peer, unstamped } from "../support/sdk.ts";
import { everythingCommand } from "../support/sdk-servers.ts";

setDefaultTimeout(30_000);

// Third-party servers behind the gateway and third-party clients in front of it.

const servers = {
  files: ["@modelcontextprotocol/server-filesystem", "dist/index.js"],
  memory: ["@modelcontextprotocol/server-memory", "dist/index.js"],
} as const;

let daemon: Daemon;
let key = "";
let commands: Record<"files" | "rooted" | "memory" | "all", string[]>;

beforeAll(async () => {
  const place = new Place({});
  const root = join(realpathSync(place.dir), "root");
  mkdirSync(root);
  writeFileSync(join(root, "note.txt"), "a note of 1.10 and 12345678901234567890\n");
  commands = {
    files: [...(await peerCommand(...servers.files)), root],
    rooted: await peerCommand(...servers.files),
    memory: await peerCommand(...servers.memory),
    all: everythingCommand("stdio"),
  };
  const children = Object.entries(commands).map(([id, [command, ...args]]) => ({
    id,
    command,
    args,
    ...(id === "memory" && { env: { MEMORY_FILE_PATH: join(root, "memory.jsonl") } }),
  }));
  place.configure({ auth: { type: "api-key" }, servers: children, policies: [everything()] });
  daemon = await place.start();
  key = await place.key("agent");
}, 120_000);

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  daemon.place[Symbol.dispose]();
});

/** Makes the same call directly and through the gateway. */
async function both(gateway: Peer, direct: Peer, server: string, tool: string, args: Record<string, unknown>) {
  const through = unstamped(await gateway.call(`${server}__${tool}`, args));
  return [through, unstamped(await direct.call(tool, args))];
}

describe("third-party servers", () => {
  test("server-filesystem behaves as it does alone, refusals included", async () => {
    const root = join(realpathSync(daemon.place.dir), "root");
    await using gateway = await connect("1.x", { url: `${daemon.url}/mcp`, key });
    await using direct = await connect("1.x", { command: commands.files, env: {} });
    const calls: [tool: string, args: Record<string, unknown>][] = [
      ["list_allowed_directories", {}],
      ["read_text_file", { path: join(root, "note.txt") }],
      ["get_file_info", { path: join(root, "missing.txt") }],
      ["read_text_file", { path: "/etc/passwd" }],
      ["search_files", { path: root, pattern: "**/*.txt" }],
    ];
    for (const [tool, args] of calls) {
      const [through, straight] = await both(gateway, direct, "files", tool, args);
      expect({ tool, result: through }).toEqual({ tool, result: straight });
    }
  });

  test.each(["1.x", "2.x legacy", "2.x modern"] as const)(
    "server-filesystem without arguments knows the roots of a client %s in the first call",
    async (line) => {
      const root = join(realpathSync(daemon.place.dir), "root");
      await using client = await connectAnswering(line, `${daemon.url}/mcp`, key, `file://${root}`);
      expect(JSON.stringify(await client.call("rooted__list_allowed_directories"))).toContain(root);
      expect(client.asked.map(({ method }) => method)).toEqual(["roots/list"]);
    },
    30_000,
  );

  test("server-memory keeps what it is told across calls of one caller", async () => {
    await using gateway = await connect("2.x modern", { url: `${daemon.url}/mcp`, key });
    const entities = [{ name: "mcpgw", entityType: "program", observations: ["stands between"] }];
    await gateway.call("memory__create_entities", { entities });
    const found = await gateway.call("memory__search_nodes", { query: "between" });
    expect(JSON.stringify(found)).toContain('"entityType');
    expect(JSON.stringify(found)).toContain("stands between");
  });
});

/** Returns the parsed output of the inspector's command line. */
async function inspect(...args: string[]): Promise<unknown> {
  const launcher = await peerCommand("@modelcontextprotocol/inspector", "clients/launcher/build/index.js");
  const child = Bun.spawn([...launcher, "--cli", ...args], {
    env: { PATH: process.env["PATH"] ?? "", HOME: daemon.place.dir },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const { code, stdout, stderr } = await ended(child);
  if (code !== 0) throw new Error(`the inspector ended with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

describe("third-party clients", () => {
  const through = (...args: string[]): Promise<unknown> =>
    inspect(`${daemon.url}/mcp`, "--transport", "http", "--header", `Authorization: Bearer ${key}`, ...args);
  const alone = (...args: string[]): Promise<unknown> => inspect(...commands.all, ...args);

  test("the inspector's command line lists and calls as it does directly", async () => {
    // The server shows some tools only to clients that can be asked questions, as this one can.
    const listed = (await through("--method", "tools/list")) as { tools: { name: string }[] };
    const own = listed.tools.filter(({ name }) => name.startsWith("all__")).map(({ name }) => name.slice(5));
    const there = (await alone("--method", "tools/list")) as { tools: { name: string }[] };
    expect(own.toSorted()).toEqual(there.tools.map(({ name }) => name).toSorted());
    const args = ["--tool-arg", "a=2", "b=40"];
    const sum = await through("--method", "tools/call", "--tool-name", "all__get-sum", ...args);
    expect(unstamped(sum)).toEqual(await alone("--method", "tools/call", "--tool-name", "get-sum", ...args));
  }, 60_000);

  test("mcp-remote connects a stdio client to the gateway", async () => {
    const command = [
      ...(await peerCommand("mcp-remote", "dist/proxy.js")),
      `${daemon.url}/mcp`,
      "--header",
      `Authorization: Bearer ${key}`,
      "--transport",
      "http-only",
      "--allow-http",
    ];
    await using client = await connect("1.x", { command, env: { MCP_REMOTE_CONFIG_DIR: daemon.place.dir } });
    expect(client.server?.name).toStartWith("mcpgw");
    expect(unstamped(await client.call("all__echo", { message: "over there" }))).toEqual({
      content: [{ type: "text", text: "Echo: over there" }],
    });
  }, 60_000);
});
