import { expect, test } from "bun:test";
import type { LogFacts } from "../../../src/core/log.ts";
import { reply, serve } from "../../support/mcp-server.ts";
import { http, listed, memoryLists, toolNames } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";
import { writtenLog } from "../../support/written-log.ts";

test("the log names the tools of every change, and counts only changes that repeat within a minute", async () => {
  let names = ["a"];
  using server = serve(({ method, id }) =>
    method === "tools/list" ? reply(id, { tools: names.map((name) => ({ name, inputSchema: {} })) }) : null,
  );
  const { lines, log } = writtenLog({ level: "info" });
  await using set = await listed([{ ...http("a", server.url), refresh: 30 }], { info: log.info });
  for (const next of [
    ["a", "b"],
    ["a", "b", "c"],
    ["a", "b", "c", "d"],
    ["a", "b", "c"],
    ["a", "b", "c", "d"],
  ]) {
    names = next;
    await until(() => toolNames(set).length === next.length, next.join());
  }
  log.flush();
  const added = lines
    .map((line) => JSON.parse(line) as LogFacts)
    .map((facts) => [facts.added, facts.removed, facts.count]);
  expect(added).toEqual([
    ["b", undefined, undefined],
    ["c", undefined, undefined],
    ["d", undefined, undefined],
    [undefined, "d", undefined],
    ["d", undefined, 1],
  ]);
});

test("a definition of which a part is left out does not count as changed after a restart", async () => {
  const tools = [{ name: "t", description: null, inputSchema: { type: "object" } }];
  using server = serve(({ method, id }) => (method === "tools/list" ? reply(id, { tools }) : null));
  const lists = memoryLists();
  const { lines, log } = writtenLog({ level: "info" });
  for (let start = 0; start < 2; start++) {
    await using set = await listed([http("a", server.url)], { lists, info: log.info });
    expect(set.warnings.join()).toContain("its description is not a string");
  }
  expect(lines).toEqual([]);
});
