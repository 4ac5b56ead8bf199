import { expect, test } from "bun:test";
import { Door, said } from "../support/front-door.ts";
import { initialize } from "../support/wire.ts";

test("R119 FIELD T11: a page of an allowed origin may send and read every header of the protocol", async () => {
  await using door = new Door(() => said(""), { allowedOrigins: ["https://app.example"] });
  const headers = { origin: "https://app.example" };
  const names = ["mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "last-event-id"];
  const asked = { ...headers, "access-control-request-method": "POST" };
  for (const path of ["/mcp", "/mcp/git", "/sse", "/messages"]) {
    const preflight = await door.request("OPTIONS", { headers: asked, path });
    expect(preflight.status).toBe(204);
    const allowed = preflight.headers.get("access-control-allow-headers")?.split(", ");
    for (const name of names) expect(allowed).toContain(name);
  }
  const wanted = {
    ...asked,
    "access-control-request-headers": "mcp-param-region, Mcp-Param-Max-Rows,x-other, mcp-param-",
  };
  const preflight = await door.request("OPTIONS", { headers: wanted });
  const more = preflight.headers.get("access-control-allow-headers")?.split(", ").slice(-3);
  expect(more).toEqual(["x-api-key", "mcp-param-region", "Mcp-Param-Max-Rows"]);
  // Only a preflight request from an allowed origin gets this response.
  const method = { "access-control-request-method": "POST" };
  for (const other of [headers, method, { ...method, origin: door.url }]) {
    const plain = await door.request("OPTIONS", { headers: other });
    expect([plain.status, plain.headers.get("access-control-allow-methods")]).toEqual([405, null]);
  }
  const answer = await door.post(initialize(), { headers: asked });
  expect(answer.status).toBe(200);
  expect(answer.headers.get("access-control-expose-headers")?.split(", ")).toEqual([
    ...names,
    "retry-after",
    "www-authenticate",
  ]);
});

test("R119: a page of an allowed origin can read error responses too", async () => {
  await using door = new Door(() => said(""), { allowedOrigins: ["https://app.example"], maxConnections: 1 });
  const origin = "https://app.example";
  const unknown = { origin, "mcp-session-id": "A".repeat(43) };
  for (const [method, headers, key, expected] of [
    ["GET", unknown, "alice", 404],
    ["DELETE", unknown, "alice", 404],
    ["GET", { origin }, "", 401],
  ] as const) {
    const answer = await door.request(method, { headers, key });
    expect([answer.status, answer.headers.get("access-control-allow-origin")]).toEqual([expected, origin]);
  }
  const stream = await door.request("GET", { headers: await door.session() });
  const crowded = await door.request("GET", { headers: { origin } });
  expect([crowded.status, crowded.headers.get("access-control-allow-origin")]).toEqual([503, origin]);
  const foreign = await door.request("GET", { headers: { origin: "https://evil.test" } });
  expect(foreign.headers.get("access-control-allow-origin")).toBeNull();
  await stream.body?.cancel();
});

test("S01: a page of an allowed origin does not count as a local process, although its browser runs on this machine", async () => {
  const origin = "https://app.example";
  await using door = new Door(() => said(""), { allowedOrigins: [origin] });
  const scrape = (headers = {}) => door.request("GET", { headers, path: "/metrics", key: "" });
  expect((await scrape()).status).toBe(200);
  expect((await scrape({ origin })).status).toBe(401);
});
