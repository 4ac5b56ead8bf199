import { afterEach, expect, jest, test } from "bun:test";
import type { ClientAnswer, InputRequest } from "../../../src/core/inbound.ts";
import { PipeLink } from "../../../src/upstream/link/pipe-link.ts";
import { AmbiguousQuestions } from "../../../src/upstream/link/ambiguous-questions.ts";
import { exchangeOf, linkHost, linkRequest, settled } from "../../support/link-host.ts";

// A question that names no call and comes while several run, on the link of a program or a socket.

type Written = { readonly id?: unknown; readonly method?: string; readonly error?: { readonly message: string } };
type Running = {
  readonly id: number;
  readonly over: Promise<string>;
  /** The questions that its client was asked, by the server's own ids. */
  readonly asked: readonly number[];
  /** The client answers what it was asked. */
  accept(): void;
  /** The server answers the call. */
  answer(): void;
  cancel(): void;
};

/** A link to a server whose part the test plays; `wrote` is told what the server is sent besides calls. */
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
  /** Sends a call; `none`: its client can be asked nothing. */
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
  error: { code: -32601, message: expect.stringMatching(/^Several calls were/) },
});
const answered = (id: number) => ({ id, result: { q: id } });
test("a call that began after a question has no say in what it is about, however it ends", async () => {
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

test("a question waits until one of the calls that ran when it came is left, and is asked about that one", async () => {
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

test("questions that can only be about the call that is left are all asked about it", () => {
  const { call, question } = open();
  const [first, second] = [call(), call()];
  for (const q of [1, 2, 3]) question(q);
  first.answer();
  expect(second.asked).toEqual([1, 2, 3]);
});

test.each(["the call that asked before", "the other call"])(
  "a call whose question waits for its client may be the one that asks again: %s",
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
  ["its client gives it up", (_, { cancel }) => cancel()],
  ["its answer cannot be read", ({ say }, { id }) => say({ id, result: 1 })],
];

test.each(endings)("what a question is about is not known any more after a call ended because %s", async (_, end) => {
  const server = open();
  const [first, second] = [server.call(), server.call()];
  server.question(7);
  end(server, first);
  await first.over;
  second.answer();
  expect(second.asked).toEqual([]);
  expect(server.said.filter(({ method }) => method === undefined)).toMatchObject([refused(7)]);
});

test("T12: a question waits for half the time for which each call may be silent", async () => {
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

test("a question is a sign of life from all calls that it can be about", async () => {
  const handlers = { progress: null, message: null, other: null, ask: async () => answer, askable: true };
  const calls = [0, 1].map((id) => {
    return exchangeOf(id, linkRequest({ purpose: { kind: "call", handlers, client: null } }));
  });
  const ambiguous = new AmbiguousQuestions();
  ambiguous.add({ idText: "7", method: "roots/list", params: "{}" }, calls, () => {});
  expect(calls.map(({ heard }) => heard)).toEqual([true, true]);
  ambiguous.close();
});

test("FIELD T66: a notification of an extension is a sign of life from a call whose client takes it, and from no other", () => {
  jest.useFakeTimers();
  for (const taken of [true, false]) {
    const handlers = { progress: null, message: null, other: () => taken, ask: null, askable: false };
    const exchange = exchangeOf(1, linkRequest({ purpose: { kind: "call", handlers, client: null }, timeout: 40 }));
    jest.advanceTimersByTime(30);
    exchange.other("acme/said", "{}");
    jest.advanceTimersByTime(30);
    expect(exchange.gaveUp).toBe(taken ? null : "timeout");
    // All deadlines share a timer, and one of this clock would never fire for the next.
    jest.advanceTimersByTime(40);
    expect(exchange.gaveUp).toBe("timeout");
  }
});

test("where two calls ask at once the first question is refused, and the other is asked once the call of that has ended", () => {
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

test("a question that its server withdraws while it waits is asked of nobody", () => {
  jest.useFakeTimers();
  const { said, say, call, question } = open();
  const [first, second] = [call(), call()];
  question(7);
  say({ method: "notifications/cancelled", params: { requestId: 7 } });
  first.answer();
  expect([second.asked, said, jest.getTimerCount()]).toEqual([[], [], 0]);
});

test("a question that waits ends with its link", async () => {
  const { said, link, call, question } = open();
  const [first, second] = [call(), call()];
  question(7);
  await link.close();
  expect(await Promise.all([first.over, second.over])).toEqual(["lost", "lost"]);
  expect([first.asked, second.asked, said]).toEqual([[], [], []]);
});

test("T12: so many questions wait at once, of that length, each under an id of its own; others are refused at once", () => {
  const { said, say, call, question } = open();
  const [first, second] = [call(), call()];
  say({ id: 0, method: "roots/list", params: { q: 0, long: "x".repeat(1024 ** 2) } });
  question(1);
  for (let q = 1; q <= 17; q++) question(q);
  expect(said).toMatchObject([refused(0), refused(1), refused(17)]);
  first.answer();
  expect(second.asked).toEqual(Array.from({ length: 16 }, (_, at) => at + 1));
});

test("T12: a server that asks and withdraws without end is ended, though nobody is asked", async () => {
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

test("S20: where callers share the server no question waits, for none of them may be asked", () => {
  const { said, call, question } = open();
  call(null, "none");
  call(null, "none");
  question(7);
  expect(said).toMatchObject([refused(7)]);
});
