import { expect, test } from "bun:test";
import type { ClientAnswer, InputRequest } from "../../../src/core/inbound.ts";
import { silent } from "../../../src/core/log.ts";
import { Exchange } from "../../../src/upstream/link/exchange.ts";
import { receive } from "../../../src/upstream/link/inbox.ts";
import type { Ask, LinkHost, Purpose } from "../../../src/upstream/link/link.ts";

const host: LinkHost = {
  server: "a",
  limits: { depth: 64, nodes: 1_000, result: 1_000_000 },
  client: { name: "t", version: "0" },
  declares: "{}",
  oneClient: false,
  timeout: 1_000,
  log: silent,
  notified: () => false,
  renewed: () => {},
  dropped: () => {},
};
const ask = (purpose: Purpose): Ask => ({
  method: "m",
  params: () => null,
  peer: { era: "legacy", revision: "2025-11-25" },
  timeout: null,
  most: Infinity,
  signal: new AbortController().signal,
  purpose,
  headers: null,
});

/** Some requests in flight, to which the server says what names none of them; what each hears, and our answers. */
function server(kinds: Purpose["kind"][], oneClient = false) {
  const heard: string[] = [];
  const replies: string[] = [];
  const purposeOf = (kind: Purpose["kind"], at: string): Purpose => {
    if (kind === "own") return { kind };
    if (kind === "listen") return { kind, notified: (method) => void heard.push(`${at} ${method}`) };
    const request = ({ params }: InputRequest, signal: AbortSignal): Promise<ClientAnswer> => {
      const { promise, resolve } = Promise.withResolvers<ClientAnswer>();
      heard.push(`${at} question ${params}`);
      signal.addEventListener("abort", () => heard.push(`${at} ended ${params}`));
      answers.set(params, () => resolve({ kind: "result", text: params }));
      return promise;
    };
    const message = (): void => void heard.push(`${at} message`);
    return { kind, handlers: { progress: null, message, completed: null, request } };
  };
  const answers = new Map<string, () => void>();
  const open = kinds.map((kind, id) => new Exchange(id, ask(purposeOf(kind, `${kind}-${id}`)), { giveUp() {} }));
  const inbox = {
    answer: () => {},
    anonymous: () => {},
    broken: () => {},
    find: () => undefined,
    issued: () => false,
    stray: () => {},
    open: () => open,
    reply: (text: string) => void replies.push(text),
  };
  const say = (text: string): void => receive(text, { ...host, oneClient }, inbox);
  const question = (id: number): void => say(`{"jsonrpc":"2.0","id":${id},"method":"roots/list","params":{"q":${id}}}`);
  const accept = (id: number): void => answers.get(`{"q":${id}}`)?.();
  return { heard, replies, open, say, question, accept };
}

const message = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}';
const asked = (at: string, id: number): string => `${at} question {"q":${id}}`;
const reply = (id: number): string => `{"jsonrpc":"2.0","id":${id},"result":{"q":${id}}}`;
/** Until all that was answered has been passed on. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test.each([
  [["call"], ["call-0 message", asked("call-0", 7)]],
  [
    ["own", "listen", "call"],
    ["call-2 message", asked("call-2", 7)],
  ],
  [["call", "call"], []],
  [["own", "listen"], []],
] as [Purpose["kind"][], string[]][])(
  "what names no request is about the only call, never about one of several: %p",
  (kinds, expected) => {
    const { heard, replies, say, question } = server(kinds);
    say(message);
    question(7);
    expect(heard).toEqual(expected);
    expect(replies.length).toBe(expected.length === 0 ? 1 : 0);
  },
);

test("several calls of one client ask it in their order, each as often as the others", async () => {
  const { heard, replies, question, accept } = server(["call", "own", "call"], true);
  for (const id of [1, 2, 3]) question(id);
  expect(heard).toEqual([asked("call-0", 1), asked("call-2", 2), asked("call-0", 3)]);
  question(3);
  expect(replies).toEqual([expect.stringContaining("-32601")]);
  for (const id of [2, 3, 1]) accept(id);
  await settled();
  expect(replies.slice(1).toSorted()).toEqual([1, 2, 3].map(reply));
});

test("a question outlives the call over which it was put, but not all calls that it can be about", async () => {
  const { heard, replies, open, question, accept } = server(["call", "call"], true);
  question(1);
  open.shift()?.close();
  await settled();
  expect(heard).toEqual([asked("call-0", 1), 'call-0 ended {"q":1}', asked("call-1", 1)]);
  accept(1);
  await settled();
  expect(replies).toEqual([reply(1)]);
  question(2);
  for (const one of open) one.close();
  await settled();
  expect([heard.length, replies.length]).toEqual([5, 1]);
});

test("a question that its server withdraws is not put again", async () => {
  const { heard, replies, open, question, say } = server(["call", "call"], true);
  question(1);
  say('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}');
  open[0]?.close();
  await settled();
  expect([heard, replies]).toEqual([[asked("call-0", 1), 'call-0 ended {"q":1}'], []]);
});
