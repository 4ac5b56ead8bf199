import { expect, test } from "bun:test";
import type { Gateway } from "../../src/gateway/gateway.ts";
import { maxOwed, sendOrDrop } from "../../src/serve/queue-limits.ts";
import { Traffic } from "../../src/session/traffic.ts";

const gw = { caps: { result: 1024 } } as Gateway; // only `caps.result` is used

test("a client with too much unread loses notifications but stays connected; only another result ends its connection", () => {
  const traffic = new Traffic();
  const written: string[] = [];
  const ends: string[] = [];
  let queued = 0;
  const outlet = {
    owner: "key:a",
    queued: () => queued,
    put: (text: string) => void written.push(text),
    close: (why: string) => void ends.push(why),
  };
  const send = (message: string, must: boolean) => sendOrDrop(outlet, message, must, { current: () => gw, traffic });
  queued = maxOwed(gw) - 1;
  send("the last result", true);
  queued = maxOwed(gw) + 1;
  send("progress", false);
  expect([written, traffic.lost, ends]).toEqual([["the last result"], 1, []]);
  send("one more", true);
  expect([written.length, ends]).toEqual([1, ["The client left too much unread."]]);
  queued = 0;
  send("progress", false);
  expect([written.at(-1), traffic.lost]).toEqual(["progress", 1]);
});
