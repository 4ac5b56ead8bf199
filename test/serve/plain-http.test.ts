import { expect, setDefaultTimeout, test } from "bun:test";
import { Door, hang, said } from "../support/front-door.ts";
import { dial, postText } from "../support/raw-http.ts";
import { PerTurnCounter, use } from "../support/turns.ts";
import { until } from "../support/until.ts";
import { modern, toolCall } from "../support/wire.ts";

setDefaultTimeout(30_000);

// Minimal requests, as health checks, load balancers and simple programs send them.

/** Sends these header lines and returns what comes back, up to the end of the headers or, if `whole`, everything. */
async function raw(door: Door, lines: readonly string[], whole = false): Promise<string> {
  const socket = dial(door);
  socket.write([...lines, "", ""].join("\r\n"));
  let text = "";
  for await (const bytes of socket) {
    text += String(bytes);
    if (!whole && text.includes("\r\n\r\n")) break;
  }
  return text;
}

const key = "Authorization: Bearer alice";

test("R65: a GET without Accept, which 2024-11-05 does not require, opens the stream", async () => {
  await using door = new Door(() => said(""));
  const session = Object.entries(await door.session()).map(([name, value]) => `${name}: ${value}`);
  for (const lines of [
    ["GET /sse HTTP/1.1", "Host: localhost", key],
    ["GET /mcp HTTP/1.1", "Host: localhost", key, ...session],
  ]) {
    const answer = await raw(door, lines);
    expect(answer).toStartWith("HTTP/1.1 200 ");
    expect(answer.toLowerCase()).toContain("content-type: text/event-stream");
  }
});

test.each(["/live", "/ready", "/metrics"])("HEAD %s is answered like GET, without the body", async (path) => {
  await using door = new Door(() => said(""));
  const ask = (method: string) =>
    raw(door, [`${method} ${path} HTTP/1.1`, "Host: localhost", "Connection: close"], true);
  const head = await ask("HEAD");
  expect(head).toStartWith("HTTP/1.1 200 ");
  expect(head).toEndWith("\r\n\r\n");
  const length = (text: string) => /^content-length: (\d+)/im.exec(text)?.[1];
  expect(length(head)).toBe(length(await ask("GET")) ?? "");
});

test("S01: container names and fully qualified names are valid hosts", async () => {
  await using door = new Door(() => said(""));
  const live = (host: string) => raw(door, ["GET /live HTTP/1.1", `Host: ${host}`, "Connection: close"], true);
  expect(await live("localhost.:7332")).toStartWith("HTTP/1.1 200 ");
  const foreign = await live("mcp_gw:7332");
  expect(foreign).toStartWith("HTTP/1.1 403 ");
  expect(foreign).toContain("listen.allowedHosts");
});

test.each([
  ["file:///ü", "200"],
  ["file:///ö", "400"],
])("T20: Mcp-Name in plain UTF-8, as Go clients send it, is compared with the body: %s", async (name, status) => {
  await using door = new Door(() => said(""));
  const { body, headers } = modern("resources/read", { uri: "file:///ü" });
  const text = JSON.stringify(body);
  const lines = Object.entries({ ...headers, "mcp-name": name, "content-type": "application/json" }).map((pair) =>
    pair.join(": "),
  );
  const length = `Content-Length: ${Buffer.byteLength(text)}`;
  const answer = await raw(door, ["POST /mcp HTTP/1.1", "Host: localhost", key, ...lines, length, "", text]);
  expect(answer).toStartWith(`HTTP/1.1 ${status} `);
});

test("a client that pipelines requests leaves other clients their turn", async () => {
  using turns = new PerTurnCounter();
  await using door = new Door(() => {
    turns.count();
    use(1);
    return said("ok");
  });
  const text = JSON.stringify(toolCall("echo"));
  const accept = "Accept: application/json, text/event-stream";
  const one = postText([accept, `Content-Length: ${Buffer.byteLength(text)}`], text);
  const flood = dial(door).resume();
  const ended = new Promise((resolve) => flood.once("close", resolve));
  flood.write(one.repeat(100));
  await Promise.race([ended, until(() => door.ended.length === 100, "all calls")]);
  expect(turns.most).toBeLessThan(20);
  flood.destroy();
});

test("T25: a modern call is cancelled if its client disconnects while the request waits for its turn", async () => {
  let later = false;
  await using door = new Door((call) => {
    if (later) return hang(call);
    setImmediate(() => (later = true));
    use(2);
    return said("ok");
  });
  const { body, headers } = modern("tools/call", { name: "echo" });
  const text = JSON.stringify(body);
  const all = { accept: "application/json, text/event-stream", ...headers, "content-length": text.length };
  const one = postText(
    Object.entries(all).map((pair) => pair.join(": ")),
    text,
  );
  // Once the connection has used up its share, one request waits, and the connection ends.
  dial(door).end(one.repeat(20));
  await until(() => door.ended.at(-1)?.status === "cancelled", "the last call to be cancelled", 5_000);
});
