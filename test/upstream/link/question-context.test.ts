import { afterEach, expect, jest, test } from "bun:test";
import { answerTimeoutMs, type ClientAnswer, type InputRequest } from "../../../src/core/inbound.ts";
import { askClient } from "../../../src/upstream/link/question-context.ts";
import type { Handlers } from "../../../src/upstream/link/link.ts";
import { exchangeOf, linkRequest, settled } from "../../support/link-host.ts";
import { until } from "../../support/until.ts";

afterEach(() => void jest.useRealTimers());

/** A call whose client answers as `request` does. */
function callOf(request: Handlers["ask"], timeout: number | null) {
  const handlers = { progress: null, message: null, other: null, ask: request, askable: request !== null };
  return exchangeOf(0, linkRequest({ timeout, purpose: { kind: "call", handlers, client: "a" } }));
}

/** A call with a server's question to its client; the server has received a message once `taken` resolves. */
function questioned(timeout: number | null, taken?: Promise<void>) {
  const asked = Promise.withResolvers<InputRequest>();
  const answer = Promise.withResolvers<ClientAnswer>();
  let signal = new AbortController().signal;
  const request = (one: InputRequest, end: AbortSignal): Promise<ClientAnswer> => {
    signal = end;
    asked.resolve(one);
    return answer.promise;
  };
  const exchange = callOf(request, timeout);
  const replies: string[] = [];
  const params = '{"_meta":{"progressToken":"theirs"}}';
  const reply = (text: string): Promise<void> | undefined => (replies.push(text), taken);
  exchange.ask({ idText: "1", method: "roots/list", params }, [exchange], reply);
  const accept = (): void => answer.resolve({ kind: "result", text: "{}" });
  return { exchange, asked: asked.promise, accept, replies, signal: () => signal };
}

test("FIELD T66: the clock of a call continues once its client has answered", async () => {
  const { exchange, accept } = questioned(5);
  accept();
  await until(() => exchange.gaveUp === "timeout", "the time is up");
});

test("progress that a client reports on a question reaches the server under the server's own token", async () => {
  const { asked, replies } = questioned(null);
  const { progress } = await asked;
  for (const n of [1, 2]) {
    progress?.(`{"progressToken":"ours","progress":${n}}`);
    await settled();
  }
  expect(replies.map((text) => JSON.parse(text).params)).toEqual(
    [1, 2].map((n) => ({ progressToken: "theirs", progress: n })),
  );
});

test("a null progress token means that the server wants no progress", () => {
  const asked: InputRequest[] = [];
  const request = (one: InputRequest): Promise<ClientAnswer> => (asked.push(one), new Promise(() => {}));
  const exchange = callOf(request, null);
  const params = '{"_meta":{"progressToken":null}}';
  exchange.ask({ idText: "1", method: "roots/list", params }, [exchange], () => {});
  expect(asked.map(({ progress }) => progress)).toEqual([undefined]);
});

test("a question that its client fails to answer is not asked again", async () => {
  let asked = 0;
  const request = (): Promise<ClientAnswer> => (asked++, Promise.reject(new Error("the client is gone")));
  const calls = [callOf(request, null), callOf(request, null)];
  const replies: string[] = [];
  const question = { idText: "1", method: "roots/list", params: "{}" };
  expect(askClient(calls, question, (text) => void replies.push(text))).toBe(true);
  await settled();
  expect(replies.map((text) => JSON.parse(text))).toMatchObject([{ id: 1, error: { code: -32603 } }]);
  expect(asked).toBe(1);
});

test("a question that is not answered in time is cancelled at the client", async () => {
  jest.useFakeTimers();
  const { asked, replies, signal } = questioned(null);
  await asked;
  jest.advanceTimersByTime(answerTimeoutMs);
  jest.useRealTimers();
  await settled();
  expect(signal().aborted).toBe(true);
  expect(replies).toEqual([expect.stringContaining("-32603")]);
});

test("progress that the server is slow to accept is not sent after the answer", async () => {
  jest.useFakeTimers();
  const taken = Promise.withResolvers<void>();
  const { asked, accept, replies } = questioned(null, taken.promise);
  const { progress } = await asked;
  for (const n of [1, 2]) progress?.(`{"progressToken":"ours","progress":${n}}`);
  accept();
  for (let turns = 0; turns < 20; turns++) await Promise.resolve();
  jest.advanceTimersByTime(1_000);
  jest.useRealTimers();
  await settled();
  taken.resolve();
  await settled();
  expect(replies.map((text) => JSON.parse(text))).toMatchObject([{ params: { progress: 1 } }, { id: 1, result: {} }]);
});
