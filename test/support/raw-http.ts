import { connect, type Socket } from "node:net";

// Requests as raw text.

/** Opens a raw connection to a server on this machine. */
export const dial = ({ url }: { readonly url: string }): Socket =>
  connect(Number(new URL(url).port), "127.0.0.1").on("error", () => {});

/** Sends these bytes to a server on this machine; resolves to everything received until the connection closes. */
export async function exchange(url: string, text: string): Promise<string> {
  const socket = dial({ url });
  socket.write(text);
  let answer = "";
  for await (const bytes of socket) answer += String(bytes);
  return answer;
}

/** Returns the text of a request of alice with these additional header lines; `end` ends each line. */
export const requestText = (line: string, lines: readonly string[], body = "", end = "\r\n"): string =>
  [`${line} HTTP/1.1`, "Host: 127.0.0.1", "Authorization: Bearer alice", ...lines, "", body].join(end);

/** Returns the text of alice's POST of a message. */
export const postText = (lines: readonly string[], body = "", end = "\r\n"): string =>
  requestText("POST /mcp", ["Content-Type: application/json", ...lines], body, end);

/** The request that turns alice's connection into a WebSocket. */
export const upgradeText = requestText("GET /ws", [
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Version: 13",
  `Sec-WebSocket-Key: ${btoa("0123456789abcdef")}`,
]);

/** Returns a client's text frame of less than 64 KiB, masked with zeros. */
export function frameOf(payload: Buffer): Buffer {
  const { length } = payload;
  const head = length < 126 ? [0x80 | length] : [0xfe, length >> 8, length & 255];
  return Buffer.concat([Buffer.of(0x81, ...head, 0, 0, 0, 0), payload]);
}
