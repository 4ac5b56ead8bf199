import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { maxTotalBytes } from "../../../src/upstream/link/outbox.ts";
import { openWebSocket } from "../../../src/upstream/transports/websocket.ts";
import { rejectionOf } from "../../support/failure.ts";
import { linkHost, linkRequest, settled } from "../../support/link-host.ts";

const mib = 1024 ** 2;

/** Accepts a WebSocket, and reads nothing after its first frame. */
async function readNoMore(socket: Socket): Promise<void> {
  const [head] = (await once(socket, "data")) as [Buffer];
  const key = /^sec-websocket-key: (.*)\r$/im.exec(head.toString())?.[1] ?? "";
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  const fields = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Protocol: mcp"];
  socket.write(["HTTP/1.1 101 Switching Protocols", ...fields, `Sec-WebSocket-Accept: ${accept}`, "", ""].join("\r\n"));
  await once(socket, "data");
  socket.pause();
}

test("T16: a server that does not read its WebSocket is sent no more than the queue holds", async () => {
  const stopped = Promise.withResolvers<Socket>();
  const server = createServer((socket) => void readNoMore(socket).then(() => stopped.resolve(socket)));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as { port: number };
  const link = openWebSocket({ url: `ws://127.0.0.1:${port}/`, headers: {}, proxy: undefined }, linkHost);
  await link.notify("notifications/initialized", null, linkRequest().peer);
  const socket = await stopped.promise;
  const payload = JSON.stringify({ data: "x".repeat(mib) });
  const failing: Promise<Error>[] = [];
  // Twice the queue, and what the kernel buffers for a connection.
  const times = (2 * maxTotalBytes) / mib + 32;
  for (let i = 0; i < times; i++) {
    failing.push(rejectionOf(link.request(linkRequest({ params: () => payload }))));
    await settled();
  }
  socket.destroy();
  server.close();
  await link.close();
  const failures = await Promise.all(failing);
  expect(failures.filter(({ message }) => message.includes("it does not read its input"))).not.toEqual([]);
});

test("T12: a WebSocket that does not open is reported as exactly that", async () => {
  await using silent = createServer((socket) => void socket.resume());
  await once(silent.listen(0, "127.0.0.1"), "listening");
  const { port } = silent.address() as { port: number };
  const link = openWebSocket({ url: `ws://127.0.0.1:${port}/`, headers: {}, proxy: undefined }, linkHost);
  expect(await rejectionOf(link.request(linkRequest({ timeout: 50, most: 50 })))).toMatchObject({
    code: "upstream-down",
    detail: { internal: "its WebSocket did not open" },
  });
  await link.close();
});
