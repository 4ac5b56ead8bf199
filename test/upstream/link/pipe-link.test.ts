import { expect, test } from "bun:test";
import { PipeLink, type PipeEvents } from "../../../src/upstream/link/pipe-link.ts";
import { query } from "../../../src/upstream/link/query.ts";
import { rejectionOf } from "../../support/failure.ts";
import { linkHost, linkRequest } from "../../support/link-host.ts";

/** A link over a pipe that accepts every message; `unsent`: none of them leaves it. */
function open(unsent: boolean, host = linkHost) {
  const written: string[] = [];
  let events: PipeEvents | null = null;
  const link = new PipeLink(host, (to) => {
    events = to;
    const write = (_: string, text: string): boolean => (written.push(text), true);
    return { pid: null, write, take: () => unsent, close: async () => {} };
  });
  const methods = (): unknown[] => written.map((text) => (JSON.parse(text) as { method: string }).method);
  const say = (message: object): void => events?.received(JSON.stringify({ jsonrpc: "2.0", ...message }));
  return { link, methods, say, end: () => events?.ended("it broke") };
}

const cancelled = "notifications/cancelled";

test.each([
  ["sent", "tools/call", "timeout", "maybe", [cancelled]],
  ["sent", "initialize", "timeout", "maybe", []],
  ["never sent", "tools/call", "overloaded", "no", []],
] as const)("a request that was %s and times out: %s ends as %s, ran: %s", async (sent, method, code, ran, told) => {
  const { link, methods } = open(sent === "never sent");
  const { detail, ...failure } = await rejectionOf(link.request(linkRequest({ method, timeout: 5 })));
  expect([failure.code, detail.ran]).toEqual([code, ran]);
  expect(methods()).toEqual([method, ...told]);
});

test.each([
  ["sent", [cancelled]],
  ["never sent", []],
])("a request that was %s and is cancelled: its server is sent %j", async (sent, told) => {
  const { link, methods } = open(sent === "never sent");
  const controller = new AbortController();
  const asked = rejectionOf(link.request(linkRequest({ signal: controller.signal })));
  controller.abort();
  expect((await asked).code).toBe("cancelled");
  expect(methods()).toEqual(["tools/call", ...told]);
});

test.each([
  ["sent", "lost"],
  ["never sent", "upstream-down"],
] as const)(
  "a request that was %s when its pipe broke ends as %s, and nothing is sent after that",
  async (sent, code) => {
    const { link, methods, end } = open(sent === "never sent");
    const asked = rejectionOf(link.request(linkRequest()));
    end();
    expect((await asked).code).toBe(code);
    expect((await rejectionOf(link.request(linkRequest()))).code).toBe("upstream-down");
    await link.notify("notifications/roots/list_changed", null);
    expect(await link.ended).toEqual({ expected: false, reason: "it broke" });
    expect([methods(), link.over]).toEqual([["tools/call"], await link.ended]);
  },
);

test("a request that is cancelled beforehand is not sent", async () => {
  const { link, methods } = open(false);
  expect((await rejectionOf(link.request(linkRequest({ signal: AbortSignal.abort() })))).code).toBe("cancelled");
  expect(methods()).toEqual([]);
});

test("a result of the maximum size is accepted, a larger one is refused", async () => {
  const { link, say } = open(false);
  const { result } = linkHost.limits();
  const answers = [link.request(linkRequest()), rejectionOf(link.request(linkRequest()))];
  for (const [at, bytes] of [result, result + 1].entries())
    say({ id: at + 1, result: { a: "x".repeat(bytes - '{"a":""}'.length) } });
  expect(await Promise.all(answers)).toMatchObject([{ kind: "result" }, { code: "result-too-large" }]);
});

test("progress does not extend the timeout of the gateway's own requests", async () => {
  const { link, say } = open(false);
  const chatter = setInterval(() => say({ method: "notifications/progress", params: { progressToken: 1 } }), 2);
  const { peer } = linkRequest();
  expect((await rejectionOf(query(link, { method: "ping", peer, timeout: 20 }))).code).toBe("timeout");
  clearInterval(chatter);
});

test("a server may end a listening request with both its result and notifications/cancelled", async () => {
  const dropped: string[] = [];
  const { link, say } = open(false, { ...linkHost, dropped: (reason) => void dropped.push(reason) });
  const listening = link.request(linkRequest({ method: "subscriptions/listen" }));
  say({ id: 1, result: {} });
  await listening;
  say({ method: cancelled, params: { requestId: 1 } });
  expect(dropped).toEqual([]);
  say({ method: cancelled, params: { requestId: 2 } });
  expect(dropped).toEqual(["the cancellation of an unknown request"]);
});
