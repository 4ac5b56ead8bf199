import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { Door, said } from "../support/front-door.ts";
import { until } from "../support/until.ts";
import { toolCall } from "../support/wire.ts";

// Event streams over real sockets whose readers are slow.

/** The text of a request for an event stream, on a connection of its own. */
const forEvents = (path: string, headers: string[] = [], body = ""): string => {
  const own = ["Host: 127.0.0.1", "Authorization: Bearer alice", "Accept: text/event-stream, application/json"];
  const all = [`${body ? "POST" : "GET"} ${path} HTTP/1.1`, ...own, ...headers, "Connection: close"];
  if (body) all.push("Content-Type: application/json", `Content-Length: ${body.length}`);
  return `${all.join("\r\n")}\r\n\r\n${body}`;
};

/** Sends a request, reads the first event of the answer, and reads no more until it is told to. */
function slowReader(door: Door) {
  const client = connect(Number(new URL(door.url).port), "127.0.0.1").on("error", () => {});
  const firstOf = async (text: string): Promise<string> => {
    client.write(text);
    let got = "";
    for await (const chunk of client.iterator({ destroyOnReturn: false })) {
      got += chunk;
      if (/\n\n/.test(got)) break;
    }
    return got;
  };
  const rest = async (): Promise<number> => {
    let length = 0;
    client.on("data", (chunk) => void (length += chunk.length));
    await new Promise((resolve) => client.once("close", resolve));
    return length;
  };
  return { firstOf, rest };
}

describe("T42: who has lost its key gets nothing any more of what it had not read", () => {
  const size = 16_000_000;
  const large = JSON.stringify(toolCall("echo", {}, "large"));
  const play = () => new Door(() => said("x".repeat(size)));

  async function cutOff(door: Door, { rest }: ReturnType<typeof slowReader>): Promise<void> {
    await until(() => door.ended.some(({ inbound: { method } }) => method === "tools/call"), "the answer to be sent");
    door.who("alice").revoke();
    await until(() => door.traffic.streams === 0, "the stream to end");
    expect(await rest()).toBeLessThan(size / 2);
  }

  test("the stream of a call", async () => {
    await using door = play();
    const reader = slowReader(door);
    const session = Object.entries(await door.session()).map(([name, value]) => `${name}: ${value}`);
    await reader.firstOf(forEvents("/mcp", session, large));
    await cutOff(door, reader);
  });

  test("the older pair", async () => {
    await using door = play();
    const reader = slowReader(door);
    const path = /data: (\S+)/.exec(await reader.firstOf(forEvents("/sse")))?.[1];
    await door.post(large, { path: path ?? "" });
    await cutOff(door, reader);
  });
});
