import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { openStateStore } from "../../src/store/sqlite/state.ts";
import { greets, refusal, reply, serve } from "../support/mcp-server.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { fake, http, listed, memoryLists, textOf, toolNames, upstreams } from "../support/upstream.ts";

/** Ways to damage the stored row of each table. */
const damages: [string, (path: string) => void][] = [
  ["are on damaged pages", overwritten],
  ["are not valid JSON", (path) => rewritten(path, "UPDATE listing SET tools = '[', rest = '{'")],
  ["contain invalid definitions", (path) => rewritten(path, `UPDATE listing SET tools = '["{"]'`)],
];

function rewritten(path: string, sql: string): void {
  using db = new Database(path);
  db.run(sql);
}

/** Overwrites the first pages of the two tables. */
function overwritten(path: string): void {
  const file = readFileSync(path);
  using db = new Database(path, { readonly: true });
  const pages = db.query<{ rootpage: number }, []>(
    "SELECT rootpage FROM sqlite_schema WHERE name IN ('listing', 'era')",
  );
  for (const { rootpage } of pages.all()) file.fill(0xff, (rootpage - 1) * 4096, rootpage * 4096);
  writeFileSync(path, file);
}

for (const start of ["boot", "on-demand"]) {
  test.each(damages)(
    `lists of a server (${start}) whose stored rows %s are read from the server again`,
    async (_what, damage) => {
      using at = new TempDir();
      const path = at.path("mcpgw.db");
      const options = fake("a", [], { protocol: "auto", start });
      {
        using lists = openStateStore(path);
        await using _ = await listed([options], { lists });
      }
      damage(path);
      using lists = openStateStore(path);
      await using set = await listed([options], { lists });
      expect(set.listings()[0]?.tools.length).toBeGreaterThan(0);
      expect(textOf(await set.ask("a", "echo"))).toContain("echo");
      expect(set.warnings.filter((line) => line.includes("is asked again"))).not.toEqual([]);
    },
  );
}

test("a stored tool whose definition is now rejected is not offered, and the reason is reported", async () => {
  const lists = memoryLists();
  const options = fake("a", [], { start: "on-demand" });
  {
    await using before = await listed([options], { lists });
    expect(toolNames(before)).toContain("echo");
  }
  await using set = upstreams([options], { lists, refuses: ({ name }) => (name === "echo" ? "its name" : null) });
  expect(set.status()[0]?.state).toBe("idle");
  expect(toolNames(set)).not.toBeEmpty();
  expect(toolNames(set)).not.toContain("echo");
  expect(set.listings()[0]?.missing).toMatchObject([{ name: "echo", reason: expect.stringContaining("its name") }]);
});

test("FIELD T53: an on-demand server whose tools cannot be read keeps running until they can, and is asked again after a restart", async () => {
  const lists = memoryLists();
  let broken = true;
  using server = serve(({ method, id }) => {
    if (method === "initialize") return greets(id, { tools: {}, prompts: {} });
    if (method === "prompts/list") return reply(id, { prompts: [{ name: "p" }] });
    if (method !== "tools/list") return null;
    return broken ? refusal(id, -32603, "not now") : reply(id, { tools: [{ name: "t", inputSchema: {} }] });
  });
  const options = { ...http("a", server.url, { protocol: "legacy", start: "on-demand" }), idleStop: 0 };
  const runs = { state: "ready", reason: expect.stringContaining("not now") };
  {
    await using set = await listed([options], { lists });
    expect(set.status()).toMatchObject([runs]);
  }
  await using set = await listed([{ ...options, healthCheck: 20 }], { lists });
  expect(set.status()).toMatchObject([runs]);
  broken = false;
  await until(() => toolNames(set).length === 1 && set.status()[0]?.state === "idle", "its tools, and its rest");
});

test("an on-demand server whose tools cannot be read after a reload is asked again after a restart: its predecessor's tools are not its own", async () => {
  using at = new TempDir();
  using lists = openStateStore(at.path("mcpgw.db"));
  let broken = false;
  let name = "old";
  using server = serve(({ method, id }) => {
    if (method === "initialize") return greets(id, { tools: {}, prompts: {} });
    if (method === "prompts/list") return reply(id, { prompts: [{ name: "p" }] });
    if (method !== "tools/list") return null;
    return broken ? refusal(id, -32603, "not now") : reply(id, { tools: [{ name, inputSchema: {} }] });
  });
  const more = { protocol: "legacy", start: "on-demand" };
  const changed = http("a", `${server.url}?changed`, more);
  {
    await using before = await listed([http("a", server.url, more)], { lists });
    broken = true;
    await using set = await listed([changed], { lists, previous: before });
    expect(set.status()).toMatchObject([{ state: "ready", reason: expect.stringContaining("not now") }]);
    expect(toolNames(set)).toEqual(["old"]);
  }
  broken = false;
  name = "new";
  await using set = await listed([changed], { lists });
  expect(toolNames(set)).toEqual(["new"]);
});
