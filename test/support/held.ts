import type { Door } from "./front-door.ts";
import { linesOf } from "./seen.ts";
import { openSocket } from "./wire.ts";

/** A client of a transport with a held connection: how it sends, what it received, and when its connection ends. */
export type Held = { send(message: unknown): void; readonly got: unknown[]; readonly ended: Promise<unknown> };

export async function heldPair(door: Door): Promise<Held> {
  const response = await door.request("GET", { path: "/sse" });
  const got: unknown[] = [];
  const address = Promise.withResolvers<string>();
  const read = async (): Promise<void> => {
    for await (const line of linesOf(response.body)) {
      if (line.startsWith("data: /")) address.resolve(line.slice("data: ".length));
      else if (line.startsWith("data: ")) got.push(JSON.parse(line.slice("data: ".length)));
    }
  };
  const ended = read();
  const path = await address.promise;
  return { send: (message) => void door.post(message, { path }), got, ended };
}

export async function heldSocket(door: Door): Promise<Held> {
  const ws = openSocket(door.url, "/ws", "alice");
  const got: unknown[] = [];
  ws.onmessage = ({ data }) => void got.push(JSON.parse(String(data)));
  const ended = new Promise((resolve) => (ws.onclose = resolve));
  await new Promise((resolve) => (ws.onopen = resolve));
  return { send: (message) => ws.send(JSON.stringify(message)), got, ended };
}
