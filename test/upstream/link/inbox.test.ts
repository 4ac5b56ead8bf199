import { expect, test } from "bun:test";
import type { Failure } from "../../../src/core/failure.ts";
import type { ClientAnswer, InputRequest } from "../../../src/core/inbound.ts";
import { subscriptionIdKey } from "../../../src/mcp/meta.ts";
import { receive } from "../../../src/upstream/link/inbox.ts";
import { OutsideCalls } from "../../../src/upstream/link/outside-calls.ts";
import type { Purpose } from "../../../src/upstream/link/link.ts";
import { fake, listed, serveFake, textOf } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";
import { rejectionOf } from "../../support/failure.ts";
import { exchangeOf, linkHost, linkRequest, settled } from "../../support/link-host.ts";
import { writtenLog } from "../../support/written-log.ts";

/** A server with some requests in flight, whose messages name none of them; records what each hears and the replies. */
function server(kinds: Purpose["kind"][], of: "one client" | "several" = "several", clients: string[] = []) {
  const heard: string[] = [];
  const replies: string[] = [];
  const broken: string[] = [];
  const answers = new Map<string, () => void>();
  const purposeOf = (kind: Purpose["kind"], at: string, client: string | null): Purpose => {
    if (kind === "own") return { kind };
    if (kind === "listen") return { kind, notified: (method) => void heard.push(`${at} ${method}`) };
    const request = ({ params }: InputRequest, signal: AbortSignal): Promise<ClientAnswer> => {
      const { promise, resolve } = Promise.withResolvers<ClientAnswer>();
      heard.push(`${at} question ${params}`);
      signal.addEventListener("abort", () => heard.push(`${at} ended ${params}`));
      answers.set(params, () => resolve({ kind: "result", text: params }));
      return promise;
    };
    const hear = (what: string): boolean => (heard.push(`${at} ${what}`), true);
    const message = (params: string): boolean => !params.includes(`not for ${at}`) && hear("message");
    const other = (method: string, params: string): boolean => !params.includes(`not for ${at}`) && hear(method);
    return {
      kind,
      client,
      handlers: {
        progress: (params) => void hear(`progress ${params}`),
        message,
        other,
        ask: request,
        askable: request !== null,
      },
    };
  };
  const handlers = purposeOf("call", "outside", null);
  const asked = of === "one client" && handlers.kind === "call" ? handlers.handlers.ask : null;
  const open = kinds.map((kind, id) =>
    exchangeOf(id, linkRequest({ purpose: purposeOf(kind, `${kind}-${id}`, clients[id] ?? null) })),
  );
  const counts = { unrelated: 0, delivered: 0, stray: 0 };
  const inbox = {
    answer: () => {},
    broken: (id: string, why: Failure) => void broken.push(`${id} ${why.code}`),
    find: (id: string) => open.find((one) => String(one.id) === id),
    issued: () => false,
    stray: () => void counts.stray++,
    unrelated: () => void counts.unrelated++,
    delivered: () => void counts.delivered++,
    open: () => open,
    outside: new OutsideCalls(() => asked),
    reply: (text: string) => void replies.push(text),
  };
  const { lines, log } = writtenLog();
  const say = (text: string): void => receive(text, { ...linkHost, log }, inbox);
  const question = (id: number, method = "roots/list"): void =>
    say(`{"jsonrpc":"2.0","id":${id},"method":"${method}","params":{"q":${id}}}`);
  const accept = (id: number): void => answers.get(`{"q":${id}}`)?.();
  return { heard, replies, broken, open, counts, outside: inbox.outside, lines, say, question, accept };
}

const message = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}';
const askedOf = (at: string, id: number): string => `${at} question {"q":${id}}`;
const reply = (id: number): string => `{"jsonrpc":"2.0","id":${id},"result":{"q":${id}}}`;
test.each([
  [["call"], ["call-0 message", askedOf("call-0", 7)]],
  [
    ["own", "listen", "call"],
    ["call-2 message", askedOf("call-2", 7)],
  ],
  [["call", "call"], []],
  [["own", "listen"], []],
] as [Purpose["kind"][], string[]][])(
  "a message that names no request belongs to the only call, and to none of several: %p",
  (kinds, expected) => {
    const { heard, replies, say, question } = server(kinds);
    say(message);
    question(7);
    expect(heard).toEqual(expected);
    expect(replies.length).toBe(expected.length === 0 ? 1 : 0);
  },
);

const said = (method: string, to = ""): string => JSON.stringify({ jsonrpc: "2.0", method, params: { to } });
const log = "notifications/message";
const extension = "notifications/acme/said";

test("S23: a very long message that may go to many clients is not forwarded, since each would get a copy", () => {
  const { heard, counts, open, say } = server(["call", "listen"]);
  const told: string[] = [];
  const { purpose } = open[1]?.request ?? {};
  if (purpose?.kind === "listen")
    Object.assign(purpose, { notified: (_: string, params: string) => told.push(params) });
  const large = (method: string, length: number, uri: string): void => {
    const _meta = { [subscriptionIdKey]: 1 };
    say(JSON.stringify({ jsonrpc: "2.0", method, params: { uri, data: "x".repeat(length), _meta } }));
  };
  large(log, 1_000_000, "");
  large(log, 1_048_576, "");
  expect([heard, counts]).toEqual([["call-0 message"], { unrelated: 0, delivered: 1, stray: 1 }]);
  large("notifications/resources/updated", 65_536, "test://1");
  large("notifications/tasks", 2_000_000, "");
  expect([told[0], told[1]?.length, told.length]).toEqual(['{"uri":"test://1"}', expect.any(Number), 2]);
  expect(told[1]?.length).toBeGreaterThan(2_000_000);
});

test("questions and messages that arrive after the end of a call do not belong to it", () => {
  const { open, question, say, heard } = server(["call", "call"], "one client", ["one", "other"]);
  open[0]?.close();
  question(1);
  say(message);
  expect(open.map(({ waits, heard }) => [waits, heard])).toEqual([
    [false, false],
    [true, true],
  ]);
  expect(heard).toEqual([askedOf("call-1", 1), "call-1 message"]);
});

for (const method of [log, extension, "notifications/elicitation/complete"]) {
  const told = (at: string): string => `${at} ${method === log ? "message" : method}`;

  test(`${method} that names none of several calls reaches each of their clients once, in a call that accepts it`, () => {
    const { heard, open, say } = server(["call", "call", "own", "call"], "several", ["a", "a", "", "b"]);
    say(said(method));
    say(said(method, "not for call-0"));
    expect(heard).toEqual(["call-0", "call-3", "call-1", "call-3"].map(told));
    expect(open.map((one) => one.heard)).toEqual([true, true, false, true]);
  });

  test(`S20: ${method} reaches nobody if it can belong to the call of another caller`, () => {
    const { heard, say } = server(["call", "call"]);
    say(said(method));
    expect(heard).toEqual([]);
  });

  test(`${method} reaches a call without an open question, if there is one`, async () => {
    const { heard, open, question, say, accept } = server(["call", "call"], "several", ["a", "a"]);
    const later = open.splice(1);
    question(1);
    say(said(method));
    open.push(...later);
    say(said(method));
    accept(1);
    await settled();
    say(said(method));
    expect(heard).toEqual([askedOf("call-0", 1), ...["call-0", "call-1", "call-0"].map(told)]);
  });
}

const about = (method: string, params: object): string => JSON.stringify({ jsonrpc: "2.0", method, params });
test.each<[Purpose["kind"], string, "delivered" | "unrelated"]>([
  ["call", about("notifications/progress", { progressToken: 0, progress: 1 }), "delivered"],
  ["call", message, "delivered"],
  ["call", about("notifications/elicitation/complete", { elicitationId: "1" }), "delivered"],
  ["listen", about("notifications/tools/list_changed", { _meta: { [subscriptionIdKey]: 0 } }), "delivered"],
  ["own", about("notifications/progress", { progressToken: 0, progress: 1 }), "unrelated"],
])(
  "messages that a request (%s) accepts are counted separately from those that nobody accepts: %s",
  (kind, said, as) => {
    const { counts, say } = server([kind]);
    for (let times = 0; times < 3; times++) say(said);
    expect(counts).toEqual({ delivered: 0, unrelated: 0, stray: 0, [as]: 3 });
  },
);

test("T12: refused questions count as stray messages, withdrawn ones do not", async () => {
  const { counts, question, say } = server(["call", "call"]);
  for (const id of [1, 2, 3]) question(id);
  expect(counts.stray).toBe(3);
  const one = server(["call"]);
  one.question(1);
  one.say('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}');
  expect(one.counts.stray).toBe(0);
  say('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}');
  expect(counts.stray).toBe(4);
});

test("questions for several calls of one client are spread evenly over the calls, in order", async () => {
  const { heard, replies, question, accept } = server(["call", "own", "call"], "one client");
  for (const id of [1, 2, 3]) question(id);
  expect(heard).toEqual([askedOf("call-0", 1), askedOf("call-2", 2), askedOf("call-0", 3)]);
  question(3);
  expect(replies).toEqual([expect.stringContaining("-32601")]);
  for (const id of [2, 3, 1]) accept(id);
  await settled();
  expect(replies.slice(1).toSorted()).toEqual([1, 2, 3].map(reply));
});

test("a question outlives the call through which it was asked, but not all calls that it can be about", async () => {
  const { heard, replies, open, question, accept } = server(["call", "call"], "one client");
  question(1);
  open.shift()?.close();
  await settled();
  expect(heard).toEqual([askedOf("call-0", 1), 'call-0 ended {"q":1}', askedOf("call-1", 1)]);
  accept(1);
  await settled();
  expect(replies).toEqual([reply(1)]);
  question(2, "elicitation/create");
  for (const one of open.splice(0)) one.close();
  await settled();
  expect(heard.slice(3)).toEqual([askedOf("call-1", 2), 'call-1 ended {"q":2}']);
});

test("a question that its server withdraws is not asked again", async () => {
  const { heard, replies, open, question, say } = server(["call", "call"], "one client");
  question(1);
  say('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}');
  open[0]?.close();
  await settled();
  expect([heard, replies]).toEqual([[askedOf("call-0", 1), 'call-0 ended {"q":1}'], []]);
});

test("a session is asked for its roots outside of calls, and again if the call has ended, but only at a limited rate", async () => {
  const { heard, replies, open, question, accept } = server(["call"], "one client");
  question(1);
  open.shift()?.close();
  await settled();
  question(2);
  expect(heard).toEqual([askedOf("call-0", 1), 'call-0 ended {"q":1}', askedOf("outside", 1), askedOf("outside", 2)]);
  for (const id of [2, 1]) accept(id);
  await settled();
  expect(replies.splice(0)).toEqual([reply(2), reply(1)]);
  question(3, "elicitation/create");
  question(4, "sampling/createMessage");
  for (let id = 10; id < 25; id++) {
    question(id);
    accept(id);
    await settled();
  }
  expect(heard.length).toBe(18);
  expect(replies.filter((text) => text.includes("-32601")).length).toBe(3);
});

test("a question of a method that clients are never asked is refused, and the error says why", () => {
  const { replies, question } = server(["call"]);
  question(7, "com.acme/ask");
  expect(JSON.parse(replies[0] ?? "{}").error).toEqual({
    code: -32601,
    message: "The gateway does not pass requests of this method on to clients",
  });
});

test.each([
  [["own"], "No call is open that this could belong to"],
  [
    ["call", "call"],
    "Several calls are open on this server, and this could belong to any of them: finish or end the others first. " +
      "An abandoned call stays open until its questions expire",
  ],
] as [Purpose["kind"][], string][])(
  "a question whose call cannot be determined is refused, and the error says what to do: %p",
  (kinds, why) => {
    const { replies, question } = server(kinds);
    question(7);
    expect(JSON.parse(replies[0] ?? "{}").error).toEqual({ code: -32601, message: why });
  },
);

test("T12: at most 16 questions about one call may be open at once", async () => {
  const { heard, replies, question, accept } = server(["call"]);
  for (let id = 1; id <= 17; id++) question(id);
  expect([heard.length, replies]).toEqual([16, [expect.stringContaining('"id":17,"error":{"code":-32601')]]);
  accept(1);
  await settled();
  question(18);
  expect(heard.at(-1)).toBe(askedOf("call-0", 18));
});

test.each([
  ['"s-\\u00e9"', '"s-é"'],
  ['"s-é"', '"s-\\u00e9"'],
  ["9007199254740993", "9007199254740993"],
])("S20: the question with the id %s is withdrawn as %s", async (asked, withdrawn) => {
  const { heard, say } = server(["call"]);
  say(`{"jsonrpc":"2.0","id":${asked},"method":"roots/list","params":{"q":1}}`);
  say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${withdrawn}}}`);
  await settled();
  expect(heard).toEqual([askedOf("call-0", 1), 'call-0 ended {"q":1}']);
});

test("a question outside of calls ends when its server withdraws it or is gone", async () => {
  const { heard, replies, outside, question, say } = server([], "one client");
  question(1);
  say('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}');
  const ended = (): string[] => heard.filter((each) => each.includes("ended"));
  expect(ended()).toEqual(['outside ended {"q":1}']);
  question(2);
  outside?.close();
  await settled();
  expect(ended()).toEqual(['outside ended {"q":1}', 'outside ended {"q":2}']);
  expect(replies).toEqual([]);
});

for (const flags of [[], ["--http"], ["--http", "--sse"]]) {
  test(`a batch from a server is read as its messages, up to a limit (${flags.join(" ") || "stdio"})`, async () => {
    const args = ["--revision", "2025-03-26", ...flags];
    await using remote = flags.length > 0 ? await serveFake(args) : null;
    await using set = await listed([remote?.options ?? fake("fake", args)]);
    const heard: string[] = [];
    const emit = (one: string): void => void heard.push(one);
    expect(textOf(await set.ask("fake", "batch", { logs: 2 }, { emit }))).toBe("batched");
    expect(heard.length).toBe(remote && flags.length === 1 ? 0 : 2);
    const before = set.status()[0]?.dropped ?? 0;
    const controller = new AbortController();
    const failed = rejectionOf(set.ask("fake", "batch", { logs: 100 }, { controller }));
    await until(() => set.status()[0]?.dropped === before + 1, "the batch that is too long");
    controller.abort();
    await failed;
  });
}

test("a batch inside a batch is ignored", () => {
  const { say, heard } = server(["call"]);
  say(`[${message},[${message}]]`);
  expect(heard).toEqual(["call-0 message"]);
});

test("a value that cannot be an id matches nothing, even if it cannot be converted to a string", () => {
  const { heard, say } = server(["call", "listen"]);
  for (const [name, key] of [
    ["progress", "progressToken"],
    ["cancelled", "requestId"],
  ])
    for (const id of ['{"toString":1,"valueOf":1}', "[0]", "[1]", "null"])
      say(`{"jsonrpc":"2.0","method":"notifications/${name}","params":{"${key}":${id}}}`);
  expect(heard).toEqual([]);
});

test.each([
  '"params":[1]',
  '"params":{"a":1,"a":2}',
  `"params":${'{"a":'.repeat(100)}1${"}".repeat(100)}`,
  '"params":[],"result":null',
])("an unreadable request of the server is answered, and does not fail our request with the same id: %p", (params) => {
  const { replies, broken, say } = server(["call"]);
  say(`{"jsonrpc":"2.0","id":0,"method":"roots/list",${params}}`);
  expect(replies.map((reply) => JSON.parse(reply))).toMatchObject([{ id: 0, error: { code: -32600 } }]);
  expect(broken).toEqual([]);
});

test("an answer that also has a method fails its request", () => {
  const { replies, broken, say } = server(["call"]);
  say('{"jsonrpc":"2.0","id":0,"method":"tools/call","result":{}}');
  expect(replies).toEqual([]);
  expect(broken).toEqual(["0 upstream-protocol"]);
});

test("an answer that is too large to read is reported as such, not as a protocol violation", () => {
  const { broken, say } = server(["call"]);
  say(`{"jsonrpc":"2.0","id":0,"result":${'{"a":'.repeat(100)}1${"}".repeat(100)}}`);
  expect(broken).toEqual(["0 result-too-large"]);
});

test("a failure on a message of one caller's call is logged, and other calls still get their messages", () => {
  const { heard, open, lines, say } = server(["call", "call"]);
  Object.assign(open[0] ?? {}, {
    progress() {
      throw new Error("the progress failed");
    },
  });
  for (const progressToken of [0, 1])
    say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${progressToken}}}`);
  expect(heard).toEqual(['call-1 progress {"progressToken":1}']);
  expect(lines.join()).toInclude("the progress failed");
});
