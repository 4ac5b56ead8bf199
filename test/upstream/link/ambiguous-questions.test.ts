import { afterEach, expect, jest, test } from "bun:test";
import type { ClientAnswer, InputRequest } from "../../../src/core/inbound.ts";
import { PipeLink } from "../../../src/upstream/link/pipe-link.ts";
import { AmbiguousQuestions } from "../../../src/upstream/link/ambiguous-questions.ts";
import { exchangeOf, linkHost, linkRequest, settled } from "../../support/link-host.ts";

// Questions that name no call and arrive while several calls run, on the link of a program or a socket.

type Written = { readonly id?: unknown; readonly method?: string; readonly error?: { readonly message: string } };
type Running = {
  readonly id: number;
  readonly over: Promise<string>;
  /** The questions that its client was asked, by the server's own ids. */
  readonly asked: readonly number[];
  /** The client answers the questions that it was asked. */
  accept(): void;
  /** The server answers the call. */
  answer(): void;
  cancel(): void;
};

/** A link to a server that the test plays; `wrote` receives what the server is sent other than calls. */
function open(wrote: (message: Written) => void = () => {}) {
  const said: Written[] = [];
  let receive: (text: string) => void = () => {};
  const write = (_: string, text: string): boolean => {
    const message = JSON.parse(text) as Written;
    if (message.method === "tools/call") return true;
    said.push(message);
    wrote(message);
    return true;
  };
  const link = new PipeLink(linkHost, (to) => {
    receive = (text) => to.received(text);
    return { pid: null, write, take: () => false, close: async () => {} };
  });
  const say = (message: object): void => receive(JSON.stringify({ jsonrpc: "2.0", ...message }));
  let calls = 0;
  /** Sends a call; `none`: its client cannot be asked anything. */
  const call = (timeout: number | null = null, client: "answers" | "none" = "answers"): Running => {
    const id = ++calls;
    const asked: number[] = [];
    const controller = new AbortController();
    const waiting: (() => void)[] = [];
    const request = ({ params }: InputRequest): Promise<ClientAnswer> => {
      asked.push((JSON.parse(params) as { q: number }).q);
      const { promise, resolve } = Promise.withResolvers<ClientAnswer>();
      waiting.push(() => resolve({ kind: "result", text: params }));
      return promise;
    };
    const handlers = { progress: null, message: null, other: null, ask: request, askable: client !== "none" };
    const signal = controller.signal;
    const over = link.request(linkRequest({ purpose: { kind: "call", handlers, client: null }, timeout, signal })).then(
      () => "answered",
      ({ code }: { code: string }) => code,
    );
    const accept = (): void => waiting.splice(0).forEach((one) => one());
    return { id, over, asked, accept, answer: () => say({ id, result: {} }), cancel: () => controller.abort() };
  };
  const question = (q: number): void => say({ id: q, method: "roots/list", params: { q } });
  return { link, said, say, call, question };
}

afterEach(() => void jest.useRealTimers());

const answer: ClientAnswer = { kind: "result", text: "{}" };
const refused = (id: number) => ({
  id,
  error: { code: -32601, message: expect.stringMatching(/^Several calls are/) },
});
const answered = (id: number) => ({ id, result: { q: id } });
test("a call that began after a question does not affect which call the question is about, however it ends", async () => {
  const { call, question } = open();
  const [first, second] = [call(), call()];
  question(7);
  const later = [call(), call()];
  later[0]?.cancel();
  later[1]?.answer();
  await Promise.all(later.map(({ over }) => over));
  expect(first?.asked).toEqual([]);
  second?.answer();
  await settled();
  expect(first?.asked).toEqual([7]);
});

test("a question waits until only one of the calls that ran when it arrived is left, and is asked for that call", async () => {
  const { said, call, question } = open();
  const [first, second, third] = [call(), call(), call()];
  question(7);
  const later = call();
  third.answer();
  expect([first, second, later].map(({ asked }) => asked)).toEqual([[], [], []]);
  first.answer();
  expect([first, second, later].map(({ asked }) => asked)).toEqual([[], [7], []]);
  second.accept();
  await settled();
  expect(said).toMatchObject([answered(7)]);
});

test("all questions that can only be about the remaining call are asked for it", () => {
  const { call, question } = open();
  const [first, second] = [call(), call()];
  for (const q of [1, 2, 3]) question(q);
  first.answer();
  expect(second.asked).toEqual([1, 2, 3]);
});

test.each(["the call that asked before", "the other call"])(
  "a call with an open question may be the one that asks again: %s",
  async (which) => {
    const { call, question } = open();
    const parked = call();
    question(1);
    const other = call();
    question(2);
    expect([parked.asked, other.asked]).toEqual([[1], []]);
    if (which === "the other call") {
      parked.accept();
      await settled();
      parked.answer();
      expect([parked.asked, other.asked]).toEqual([[1], [2]]);
    } else {
      other.answer();
      expect([parked.asked, other.asked]).toEqual([[1, 2], []]);
    }
  },
);

const endings: [how: string, end: (server: ReturnType<typeof open>, call: Running) => void][] = [
  ["its client cancels it", (_, { cancel }) => cancel()],
  ["its answer cannot be read", ({ say }, { id }) => say({ id, result: 1 })],
];

test.each(endings)("the call of a question is unknown once one of the calls has ended because %s", async (_, end) => {
  const server = open();
  const [first, second] = [server.call(), server.call()];
  server.question(7);
  end(server, first);
  await first.over;
  second.answer();
  expect(second.asked).toEqual([]);
  expect(server.said.filter(({ method }) => method === undefined)).toMatchObject([refused(7)]);
});

test("T12: a question waits for half of the shortest timeout of the calls", async () => {
  const refusal = Promise.withResolvers<Written>();
  const { call, question } = open(refusal.resolve);
  const [first, second] = [call(400), call(60)];
  question(7);
  expect(await refusal.promise).toMatchObject(refused(7));
  expect([first.asked, second.asked]).toEqual([[], []]);
  expect(await second.over).toBe("timeout");
  first.answer();
  expect(await first.over).toBe("answered");
});

test("a question is a sign of life for every call that it can be about", async () => {
  const handlers = { progress: null, message: null, other: null, ask: async () => answer, askable: true };
  const calls = [0, 1].map((id) => {
    return exchangeOf(id, linkRequest({ purpose: { kind: "call", handlers, client: null } }));
  });
  const ambiguous = new AmbiguousQuestions();
  ambiguous.add({ idText: "7", method: "roots/list", params: "{}" }, calls, () => {});
  expect(calls.map(({ heard }) => heard)).toEqual([true, true]);
  ambiguous.close();
});

test("FIELD T66: an extension's notification is a sign of life for a call only if its client accepts the notification", () => {
  jest.useFakeTimers();
  for (const taken of [true, false]) {
    const handlers = { progress: null, message: null, other: () => taken, ask: null, askable: false };
    const exchange = exchangeOf(1, linkRequest({ purpose: { kind: "call", handlers, client: null }, timeout: 40 }));
    jest.advanceTimersByTime(30);
    exchange.other("acme/said", "{}");
    jest.advanceTimersByTime(30);
    expect(exchange.gaveUp).toBe(taken ? null : "timeout");
    // All deadlines share one timer, and a timer of this fake clock would never fire in the next test.
    jest.advanceTimersByTime(40);
    expect(exchange.gaveUp).toBe("timeout");
  }
});

test("if two calls ask at the same time, the first question is refused, and the second is asked once the first call has ended", () => {
  jest.useFakeTimers();
  const { said, call, question } = open();
  const [first, second] = [call(), call()];
  question(1);
  question(2);
  jest.advanceTimersByTime(29_999);
  expect(said).toEqual([]);
  jest.advanceTimersByTime(1);
  expect(said).toMatchObject([refused(1)]);
  first.answer();
  expect([first.asked, second.asked]).toEqual([[], [2]]);
});

test("a question that its server withdraws while it waits is never asked", () => {
  jest.useFakeTimers();
  const { said, say, call, question } = open();
  const [first, second] = [call(), call()];
  question(7);
  say({ method: "notifications/cancelled", params: { requestId: 7 } });
  first.answer();
  expect([second.asked, said, jest.getTimerCount()]).toEqual([[], [], 0]);
});

test("a waiting question is dropped when its link ends", async () => {
  const { said, link, call, question } = open();
  const [first, second] = [call(), call()];
  question(7);
  await link.close();
  expect(await Promise.all([first.over, second.over])).toEqual(["lost", "lost"]);
  expect([first.asked, second.asked, said]).toEqual([[], [], []]);
});

test("T12: at most 16 questions of limited length with distinct ids wait; others are refused immediately", () => {
  const { said, say, call, question } = open();
  const [first, second] = [call(), call()];
  say({ id: 0, method: "roots/list", params: { q: 0, long: "x".repeat(1024 ** 2) } });
  question(1);
  for (let q = 1; q <= 17; q++) question(q);
  expect(said).toMatchObject([refused(0), refused(1), refused(17)]);
  first.answer();
  expect(second.asked).toEqual(Array.from({ length: 16 }, (_, at) => at + 1));
});

test("T12: a server that keeps asking and withdrawing questions is ended, although nobody is asked", async () => {
  const { said, say, call, question } = open();
  const running = [call(), call()];
  for (let q = 1; q <= 61_000; q++) {
    question(q);
    say({ method: "notifications/cancelled", params: { requestId: q } });
  }
  for (const { answer } of running) answer();
  expect(await Promise.all(running.map(({ over }) => over))).toEqual(["lost", "lost"]);
  expect([running.map(({ asked }) => asked), said]).toEqual([[[], []], []]);
});

test("S20: if callers share the server, no question waits, since none of them may be asked", () => {
  const { said, call, question } = open();
  call(null, "none");
  call(null, "none");
  question(7);
  expect(said).toMatchObject([refused(7)]);
});
