import { expect, test } from "bun:test";
import { Door, said } from "../support/front-door.ts";
import { exchange } from "../support/raw-http.ts";
import { modern, request, toolCall } from "../support/wire.ts";

const spellings: Readonly<Record<string, (name: string) => string>> = {
  upper: (name) => name.toUpperCase(),
  lower: (name) => name.toLowerCase(),
  "alternating upper and lower": (name) =>
    name.replace(/./g, (char, at) => (at % 2 ? char.toUpperCase() : char.toLowerCase())),
};

test.each(Object.entries(spellings))("FIELD T64: header names are recognized in %s case", async (_case, spelt) => {
  await using door = new Door(() => said("ran"));
  const post = (body: unknown, headers: Readonly<Record<string, string>>): Promise<string> => {
    const text = JSON.stringify(body);
    const all = { Host: "localhost", "Content-Length": `${text.length}`, Connection: "close", ...headers };
    const lines = Object.entries(all).map(([name, value]) => `${spelt(name)}: ${value}`);
    return exchange(door.url, ["POST /mcp HTTP/1.1", ...lines, "", text].join("\r\n"));
  };
  const own = { Authorization: "Bearer alice", "Content-Type": "application/json" };
  const session = await door.session();
  expect(await post(toolCall("echo"), { ...own, ...session })).toContain("ran");
  expect(door.ended.at(-1)?.session?.id).toBe(session["mcp-session-id"]);
  expect(await post(request("ping"), { ...own, "Mcp-Session-Id": "A".repeat(43) })).toStartWith("HTTP/1.1 404");
  expect(await post(request("ping"), { "Content-Type": "application/json" })).toStartWith("HTTP/1.1 401");
  const { body, headers } = modern("tools/call", { name: "echo", arguments: {} });
  expect(await post(body, { ...own, ...headers })).toContain("ran");
  expect(await post(body, { ...own, ...headers, "mcp-name": "other" })).toContain("-32020");
  expect(await post(request("ping"), { ...own, Origin: "https://evil.test" })).toStartWith("HTTP/1.1 403");
});
