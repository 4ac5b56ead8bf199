import { expect, test } from "bun:test";
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";
import { z } from "zod";
import { stdioOptions } from "../../../src/upstream/options.ts";
import { everythingCommand, everythingHttp } from "../../support/sdk-servers.ts";
import { fake, http, listed, paramsOf, textOf, toolNames } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

test("server-everything over stdio: list, call, progress", async () => {
  const [command, ...args] = everythingCommand("stdio");
  await using set = await listed([stdioOptions.parse({ id: "e", command, args })]);
  expect(toolNames(set)).toContain("echo");
  expect(textOf(await set.ask("e", "echo", { message: "hello" }))).toBe("Echo: hello");
  const seen: string[] = [];
  const work = { duration: 0.2, steps: 2 };
  const reply = await set.ask("e", "trigger-long-running-operation", work, {
    token: "5",
    emit: (text) => void seen.push(text),
  });
  expect(textOf(reply)).toContain("completed");
  expect(seen.map((text) => paramsOf(text).progressToken)).toEqual([5, 5]);
});

test("server-everything over streamable HTTP: sessions, streams, restart", async () => {
  await using first = await everythingHttp();
  await using set = await listed([http("e", first.url)]);
  expect(textOf(await set.ask("e", "echo", { message: "hello" }))).toBe("Echo: hello");
  await first[Symbol.asyncDispose]();
  await using _second = await everythingHttp(first.port);
  const again = await until(
    () => set.ask("e", "echo", { message: "again" }).catch(() => null),
    "the session to be renewed",
  );
  expect(textOf(again)).toBe("Echo: again");
});

for (const legacy of ["reject", "stateless"] as const) {
  test(`a server of the v2 SDK, legacy: ${legacy}`, async () => {
    const handler = createMcpHandler(
      () => {
        const server = new McpServer({ name: "v2", version: "1" });
        server.registerTool("add", { inputSchema: z.object({ a: z.number(), b: z.number() }) }, async ({ a, b }) => ({
          content: [{ type: "text", text: String(a + b) }],
        }));
        return server;
      },
      { legacy },
    );
    const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => handler.fetch(request) });
    await using set = await listed([http("v2", server.url.href)]);
    expect(set.status()[0]).toMatchObject({ state: "ready", era: "modern" });
    expect(toolNames(set)).toEqual(["add"]);
    expect(textOf(await set.ask("v2", "add", { a: 2, b: 3 }))).toBe("5");
    await server.stop(true);
  });
}

test("a modern stdio server is discovered on the same pipe", async () => {
  await using set = await listed([fake("m", ["--era", "modern"])]);
  expect(set.status()[0]).toMatchObject({ era: "modern", revision: "2026-07-28" });
});
