import { expect, setDefaultTimeout, test } from "bun:test";
import { Failure } from "../../../src/core/failure.ts";
import { rejectionOf } from "../../support/failure.ts";
import { isCall, type Message, reply, serve, serveBeginning } from "../../support/mcp-server.ts";
import { type Harness, http, listed, textOf, upstreams } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

// A hundred MiB take a while on a busy machine.
setDefaultTimeout(30_000);
const mib = 1024 ** 2;
/** There is room for eight answers of this size from one server, and for 17 from all servers. */
const long = 15 * mib;
/** Longer than what is never counted. */
const longList = [{ name: "long", description: "x".repeat(100_000), inputSchema: { type: "object" } }];
/** The gateway stops reading. */
const gone = (): void => {};

/** A server that holds back the end of each answer to the tool `long`, without declaring its length. */
function serveSlowly(type: string, length = long) {
  const gate = Promise.withResolvers<void>();
  const [before, after] = type === "text/event-stream" ? ["data: ", "\n\n"] : ["", ""];
  const send = async (message: Message, body: ReadableStreamDefaultController<string>): Promise<void> => {
    const head = `${before}{"jsonrpc":"2.0","id":${String(message.id)},"result":{"content":[{"type":"text","text":"`;
    const tail = `"}]}}${after}`;
    body.enqueue(head + "a".repeat(length - head.length - tail.length));
    await gate.promise;
    body.enqueue(tail);
    body.close();
  };
  const headers = { "content-type": type };
  const server = serve((message) => {
    if (message.method === "tools/list") return reply(message.id, { tools: longList });
    if (!isCall(message) || message.params?.["name"] !== "long") return null;
    return new Response(new ReadableStream<string>({ start: (body) => void send(message, body).catch(gone) }), {
      headers,
    });
  });
  return { ...server, finish: gate.resolve };
}

/** A server that declares the length of its answers but sends only their beginning. */
const serveDeclaring = (length = long) => serveBeginning(() => "{", length);

type Asked = { readonly all: Promise<unknown>[]; readonly controllers: AbortController[]; readonly refused: Failure };

/** Requests one long answer more than there is room for, and waits until one is refused. */
async function fill(set: Harness, fitting: number, server = "a"): Promise<Asked> {
  await set.settled();
  const controllers = Array.from({ length: fitting + 1 }, () => new AbortController());
  const all = controllers.map((controller) => set.ask(server, "long", {}, { controller }));
  const refused = await Promise.race(all.map(rejectionOf));
  return { all, controllers, refused };
}

const abort = ({ controllers }: Asked): void => controllers.forEach((one) => one.abort());

/** The number of refused requests, after all have ended. */
async function refusedOf({ all }: Asked): Promise<number> {
  const ended = await Promise.allSettled(all);
  return ended.filter((one) => one.status === "rejected" && (one.reason as Failure).code === "upstream-overloaded")
    .length;
}

const types = ["application/json", "text/event-stream"];

test.each(types)(
  "T13: the answers arriving from a server are limited in total, and short answers still pass: %s",
  async (type) => {
    using server = serveSlowly(type);
    await using set = upstreams([http("a", server.url)]);
    const asked = await fill(set, 8);
    expect([asked.refused.code, asked.refused.message]).toEqual([
      "upstream-overloaded",
      'The answer of the server "a" does not fit beside the other answers in flight from it: the gateway holds at most 134217728 bytes of them. The call may have run: check before you repeat it. Ask for fewer large results at once.',
    ]);
    expect(textOf(await set.ask("a", "short"))).toBe("ok");
    server.finish();
    expect((await Promise.allSettled(asked.all)).filter(({ status }) => status === "fulfilled")).toHaveLength(8);
  },
);

type Slow = Disposable & { readonly url: string; finish?: () => void };
const servers: [string, () => Slow][] = [
  ["declared", () => serveDeclaring()],
  ...types.map((type): [string, () => Slow] => [type, () => serveSlowly(type)]),
];
const ends: [string, (server: Slow, asked: Asked) => void][] = [
  ["arrived", (server) => server.finish?.()],
  ["were cancelled", (_, asked) => abort(asked)],
  ["were lost", (server) => server[Symbol.dispose]()],
];
const cases = servers
  .flatMap(([form, open]) => ends.map(([how, end]) => ({ form, how, open, end })))
  .filter(({ form, how }) => form !== "declared" || how !== "arrived");

/** Throws if there is less room than before the first answer, or more. */
async function checkRoom(): Promise<void> {
  using server = serveDeclaring();
  await using set = upstreams([http("a", server.url)]);
  const asked = await fill(set, 8);
  // Any other request without room has been refused before this one.
  await rejectionOf(set.ask("a", "long"));
  abort(asked);
  expect(await refusedOf(asked)).toBe(1);
}

test.each(cases)("the room of answers ($form) that $how is released", async ({ open, end }) => {
  {
    using server = open();
    await using set = upstreams([http("a", server.url)]);
    const asked = await fill(set, 8);
    end(server, asked);
    expect(await refusedOf(asked)).toBe(1);
  }
  await checkRoom();
});

// No request is refused here: on a busy machine the first may be over before the last is sent.
test.each(servers)("the room of answers (%s) that timed out is released", async (_, open) => {
  {
    using server = open();
    await using set = await listed([http("a", server.url, { timeout: "1s" })]);
    const all = Array.from({ length: 8 }, () => rejectionOf(set.ask("a", "long")));
    expect(new Set((await Promise.all(all)).map(({ code }) => code))).toEqual(new Set(["timeout"]));
  }
  await checkRoom();
});

test("the gateway's own requests need no room, so a crowded server is not considered broken", async () => {
  // Eight of these leave no room for the list.
  using server = serveSlowly("application/json", 16 * mib - 2_000);
  await using set = upstreams([{ ...http("a", server.url), refresh: 100 }]);
  const asked = await fill(set, 8);
  const before = server.of("tools/list").length;
  await until(() => server.of("tools/list").length > before + 2, "lists that are read meanwhile");
  expect([set.status()[0]?.state, set.status()[0]?.restarts]).toEqual(["ready", 0]);
  abort(asked);
  expect(await refusedOf(asked)).toBe(1);
});

test("all servers together have a limit too", async () => {
  using server = serveDeclaring();
  await using set = upstreams(["a", "b", "c"].map((id) => http(id, server.url)));
  const asked = [await fill(set, 8, "a"), await fill(set, 8, "b"), await fill(set, 1, "c")];
  expect(asked[2]?.refused.message).toContain("in flight from all servers: the gateway holds at most 268435456 bytes");
  asked.forEach(abort);
  expect(await Promise.all(asked.map(refusedOf))).toEqual([1, 1, 1]);
});

test("there is always room for two results of the maximum size", async () => {
  using server = serveDeclaring(300 * mib);
  await using set = upstreams([http("a", server.url)], { result: 300 * mib });
  const asked = await fill(set, 2);
  abort(asked);
  expect(await refusedOf(asked)).toBe(1);
});

test("64 results of 1 MiB arrive at once", async () => {
  using server = serveSlowly("application/json", mib);
  await using set = upstreams([http("a", server.url)]);
  const all = Array.from({ length: 64 }, () => set.ask("a", "long"));
  server.finish();
  expect(new Set((await Promise.all(all)).map(({ kind }) => kind))).toEqual(new Set(["result"]));
});
