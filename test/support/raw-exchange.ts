import { once } from "node:events";
import { connect } from "node:net";

/** Sends these bytes to a server on this machine; resolves to all that comes back until it closes the connection. */
export async function exchange(url: string, text: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  await once(socket, "connect");
  socket.on("error", () => {});
  socket.write(text);
  let answer = "";
  for await (const bytes of socket) answer += String(bytes);
  return answer;
}
