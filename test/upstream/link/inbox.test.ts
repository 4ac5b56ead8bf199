import { expect, test } from "bun:test";
import { silent } from "../../../src/core/log.ts";
import { Exchange } from "../../../src/upstream/link/exchange.ts";
import { receive } from "../../../src/upstream/link/inbox.ts";
import type { Ask, LinkHost, Purpose } from "../../../src/upstream/link/link.ts";

const host: LinkHost = {
  server: "a",
  limits: { depth: 64, nodes: 1_000, result: 1_000_000 },
  client: { name: "t", version: "0" },
  declares: "{}",
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
function server(...kinds: Purpose["kind"][]) {
  const heard: string[] = [];
  const replies: string[] = [];
  const purposeOf = (kind: Purpose["kind"], at: string): Purpose => {
    if (kind === "own") return { kind };
    if (kind === "listen") return { kind, notified: (method) => void heard.push(`${at} ${method}`) };
    const request = (): Promise<never> => {
      heard.push(`${at} question`);
      return new Promise(() => {});
    };
    const message = (): void => void heard.push(`${at} message`);
    return { kind, handlers: { progress: null, message, completed: null, request } };
  };
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
  receive('{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}', host, inbox);
  receive('{"jsonrpc":"2.0","id":7,"method":"roots/list"}', host, inbox);
  return { heard, replies };
}

test.each([
  [["call"], ["call-0 message", "call-0 question"]],
  [
    ["own", "listen", "call"],
    ["call-2 message", "call-2 question"],
  ],
  [["call", "call"], []],
  [["own", "listen"], []],
] as [Purpose["kind"][], string[]][])(
  "what names no request is about the only call, never about one of several: %p",
  (kinds, expected) => {
    const { heard, replies } = server(...kinds);
    expect(heard).toEqual(expected);
    expect(replies.length).toBe(expected.length === 0 ? 1 : 0);
  },
);
