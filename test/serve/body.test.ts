import { afterEach, expect, jest, spyOn, test } from "bun:test";
import { once } from "node:events";
import { Failure } from "../../src/core/failure.ts";
import { BodyReader } from "../../src/serve/body.ts";
import { Door, said } from "../support/front-door.ts";
import { quietUpstreams } from "../support/gateway.ts";
import { policyOf } from "../support/policy.ts";
import { dial, postText } from "../support/raw-http.ts";
import { until } from "../support/until.ts";

afterEach(() => void jest.useRealTimers());

/** Returns a request whose body consists of these pieces and ends when `ended` resolves. */
function slow(pieces: readonly string[], ended: Promise<void> = Promise.resolve()): Request {
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
      await ended;
      controller.close();
    },
  });
  return new Request("http://127.0.0.1/", { method: "POST", body });
}

const told = (text: string): Request =>
  new Request("http://127.0.0.1/", {
    method: "POST",
    body: text,
    headers: { "content-length": String(Buffer.byteLength(text)) },
  });

const outcome = async (read: Promise<string | Failure>): Promise<string> => {
  const said = await read;
  return said instanceof Failure ? said.code : said;
};

const crowded = (whose: string, most: number) => ({
  code: "overloaded",
  message: expect.stringContaining(`${whose} in transit would exceed the limit of ${most} bytes`),
});

test("T22: a body may be exactly as long as the limit in bytes, whether or not it declares its length", async () => {
  const reader = new BodyReader(() => 10);
  const reads = ["1234567890", "12345678901", "äöüäö", "äöüäöü"].flatMap((text) => [told(text), slow([text])]);
  const outcomes = await Promise.all(reads.map((req) => outcome(reader.read(req, "key:alice"))));
  const [large, words] = ["body-too-large", "äöüäö"];
  expect(outcomes).toEqual(["1234567890", "1234567890", large, large, words, words, large, large]);
  expect(await outcome(reader.read(slow(["12", "34"]), "key:alice", 3))).toBe(large);
});

test("T26: a body that is not complete in time is given up; one with time left is awaited", async () => {
  jest.useFakeTimers();
  const end = Promise.withResolvers<void>();
  const reader = new BodyReader(() => 10);
  expect(await reader.read(slow(["done"]), "key:alice")).toBe("done");
  const given = reader.read(slow(["1"], new Promise(() => {})), "key:alice");
  jest.advanceTimersByTime(20_000);
  const late = reader.read(slow(["later"], end.promise), "key:alice");
  jest.advanceTimersByTime(29_000);
  expect(await outcome(given)).toBe("body-timeout");
  end.resolve();
  expect(await late).toBe("later");
});

test("T22: the bytes in transit of one sender are limited until they have arrived, without affecting other senders", async () => {
  const mib = 1024 ** 2;
  const end = Promise.withResolvers<void>();
  const reader = new BodyReader(() => 16 * mib);
  const announced = (bytes: number): Request =>
    new Request("http://127.0.0.1/", {
      method: "POST",
      body: slow(["x"], end.promise).body,
      headers: { "content-length": String(bytes) },
    });
  const held = [...Array<number>(7).fill(16), 14].map((size) =>
    outcome(reader.read(announced(size * mib), "key:alice")),
  );
  const chunks = outcome(reader.read(slow(["y".repeat(850 * 1024)], end.promise), "key:alice"));
  await until(async () => (await outcome(reader.read(told("x"), "key:alice"))) === "overloaded", "the last chunk");
  expect(await reader.read(slow(["z"]), "key:alice")).toMatchObject(crowded("Your request bodies", 128 * mib));
  expect(await outcome(reader.read(slow(["z"]), "key:bob"))).toBe("z");
  end.resolve();
  expect(await Promise.all(held)).toEqual(Array(8).fill("x"));
  expect(await chunks).toHaveLength(850 * 1024);
  expect(await outcome(reader.read(slow(["z"]), "key:alice"))).toBe("z");
});

test("T22: the number of chunks of a body is limited, with more allowed if the body may be longer", async () => {
  const reader = new BodyReader(() => 32 * 1024 ** 2);
  const inChunks = (count: number): Promise<string | Failure> =>
    reader.read(slow(Array<string>(count).fill("x")), "key:alice");
  expect(await inChunks(131_072)).toHaveLength(131_072);
  const refused = { code: "body-too-large", message: expect.stringContaining("more than 131072 chunks") };
  expect(await inChunks(131_073)).toMatchObject(refused);
  const small = new BodyReader(() => 80_000);
  expect(await small.read(slow(Array<string>(65_536).fill("x")), "key:alice")).toHaveLength(65_536);
  expect(await outcome(small.read(slow(Array<string>(65_537).fill("x")), "key:alice"))).toBe("body-too-large");
});

test("T22: a body in short chunks counts for more bytes than its length", async () => {
  const end = Promise.withResolvers<void>();
  const reader = new BodyReader(() => 64 * 1024 ** 2);
  const held = ["alice", "alice", "alice", "bob"].map((who) =>
    outcome(reader.read(slow(Array<string>(262_000).fill("x"), end.promise), `key:${who}`)),
  );
  expect(await Promise.race(held)).toBe("overloaded");
  end.resolve();
  expect(await held[3]).toHaveLength(262_000);
});

test("T22: one sender may send two bodies of maximum length at once, even in chunks", async () => {
  const end = Promise.withResolvers<void>();
  const size = 72 * 1024 ** 2;
  const reader = new BodyReader(() => size);
  const chunk = "x".repeat(64 * 1024);
  const held = [1, 2].map(() =>
    outcome(reader.read(slow(Array<string>(size / chunk.length).fill(chunk), end.promise), "key:alice")),
  );
  const third = (): Promise<string> => outcome(reader.read(told("x".repeat(256 * 1024)), "key:alice"));
  await until(async () => (await third()) === "overloaded", "both to have come");
  end.resolve();
  expect((await Promise.all(held)).map(({ length }) => length)).toEqual([size, size]);
});

test("T22: the bytes in transit of all senders are limited, and a timed-out body no longer counts", async () => {
  jest.useFakeTimers();
  const mib = 1024 ** 2;
  const reader = new BodyReader(() => 64 * mib);
  const headers = { "content-length": String(64 * mib - 128 * 1024) };
  const stuck = (): Request =>
    new Request("http://127.0.0.1/", { method: "POST", body: slow(["x"], new Promise(() => {})).body, headers });
  const held = Array.from({ length: 8 }, (_, n) => outcome(reader.read(stuck(), `key:${n}`)));
  const ofAll = crowded("The request bodies of all callers", 512 * mib);
  expect(await reader.read(told("x"), "key:9")).toMatchObject(ofAll);
  jest.advanceTimersByTime(31_000);
  expect(new Set(await Promise.all(held))).toEqual(new Set(["body-timeout"]));
  expect(await outcome(reader.read(told("x"), "key:9"))).toBe("x");
});

/** Opens a connection of alice to the door; `heard` resolves once the words have been received `times` times. */
function listenTo(door: Door) {
  const socket = dial(door);
  let got = "";
  const heard = (words: RegExp, times: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = (): void => void ((got.match(words)?.length ?? 0) >= times && resolve(got));
      socket.on("data", (chunk) => ((got += String(chunk)), look()));
      socket.on("close", () => reject(new Error(`the connection was closed after ${got.length} characters: ${got}`)));
      socket.on("error", reject);
    });
  return { socket, heard };
}

const ping = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
const large = "x".repeat(16 * 1024 ** 2);

test.each([
  ["with a length", postText([`Content-Length: ${large.length}`], large)],
  ["with a repeated length", postText(Array<string>(2).fill(`Content-Length: ${large.length}`), large)],
  ["in chunks", postText(["Transfer-Encoding: chunked"], `${large.length.toString(16)}\r\n${large}\r\n0\r\n\r\n`)],
])("R60: a client that sends a whole long body %s before it reads gets the refusal", async (_how, sent) => {
  await using door = new Door(() => said("ran"), { body: 1000 });
  const { socket, heard } = listenTo(door);
  const answers = heard(/HTTP\/1\.1 \d+/g, 2);
  // Closing the connection while the body is still being sent would reset it and lose the answer.
  socket.write(sent);
  socket.write(postText([`Content-Length: ${ping.length}`], ping));
  expect((await answers).match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 413", "HTTP/1.1 200"]);
  expect(door.ended.map(({ failure }) => failure?.code)).toEqual(["body-too-large", undefined]);
  socket.destroy();
});

test.each([
  ["rules", { policy: policyOf([{ tool: "*", action: "deny" }], {}) }, "Unknown tool"],
  ["servers", { upstreams: { ...quietUpstreams, send: async () => said("new") } }, '"text":"new"'],
])(
  "R18: a call whose body is complete only after a reload is checked against the new %s",
  async (_what, parts, answer) => {
    const body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}';
    await using door = new Door(() => said("old"));
    const arrived = Promise.withResolvers<void>();
    const { identify } = door.gw.authn;
    const authn = { identify: (call: Parameters<typeof identify>[0]) => (arrived.resolve(), identify(call)) };
    Object.assign(door.gw, { authn });
    const { socket, heard } = listenTo(door);
    const whole = heard(/\{"jsonrpc.*\}/g, 1);
    socket.write(postText([`Content-Length: ${body.length}`], body.slice(0, 20)));
    await arrived.promise;
    Object.assign(door, { gw: { ...door.gw, ...parts } });
    socket.write(body.slice(20));
    expect(await whole).toContain(answer);
    socket.destroy();
  },
);

test.each([
  ["has a length", postText(["Content-Length: 100"], '{"json')],
  ["comes in chunks", postText(["Transfer-Encoding: chunked"], '6\r\n{"json\r\n')],
])("T26: a client that disconnects in the middle of a body that %s is recorded as cancelled", async (_how, sent) => {
  await using door = new Door(() => said("ran"));
  const { socket } = listenTo(door);
  socket.write(sent, () => void socket.destroy());
  await until(() => door.ended.length > 0, "the refusal");
  expect(door.ended.map(({ status, who, failure }) => [status, who?.id, failure?.message])).toEqual([
    ["cancelled", "key:alice", "The client disconnected before its whole message had arrived."],
  ]);
});

test("T23: a body that has not arrived within 30 s is refused with 408, and its connection is closed", async () => {
  jest.useFakeTimers();
  await using door = new Door(() => said("ran"));
  const { socket, heard } = listenTo(door);
  const answer = heard(/did not arrive/g, 1);
  const closed = once(socket, "close");
  using watches = spyOn(globalThis, "setInterval");
  socket.write(postText(["Content-Length: 100"], '{"json'));
  while (watches.mock.calls.length === 0) await new Promise(setImmediate);
  jest.advanceTimersByTime(29_000);
  await new Promise(setImmediate);
  expect(door.ended).toEqual([]);
  jest.advanceTimersByTime(2_000);
  expect(await answer).toStartWith("HTTP/1.1 408 ");
  await closed;
  expect(door.ended.map(({ failure }) => failure?.code)).toEqual(["body-timeout"]);
});

test("T23: an unauthenticated body that is late gets the refusal, and its connection is closed", async () => {
  jest.useFakeTimers();
  await using door = new Door(() => said("ran"));
  const { socket, heard } = listenTo(door);
  const answer = heard(/No key was given/g, 1);
  const closed = once(socket, "close");
  using watches = spyOn(globalThis, "setInterval");
  socket.write(postText(["Content-Length: 100"], '{"json').replace(/authorization: .*\r\n/i, ""));
  while (watches.mock.calls.length === 0) await new Promise(setImmediate);
  jest.advanceTimersByTime(31_000);
  expect(await answer).toStartWith("HTTP/1.1 401 ");
  await closed;
  expect(door.ended.map(({ failure }) => failure?.code)).toEqual(["unauthenticated"]);
});

test("T20: a request that announces trailers is told that they are not supported, and does not run", async () => {
  await using door = new Door(() => said("ran"));
  const { socket, heard } = listenTo(door);
  const answer = heard(/without trailers/g, 1);
  socket.write(
    postText(["Transfer-Encoding: chunked", "Trailer: X-Sum"], `${ping.length.toString(16)}\r\n${ping}\r\n`),
  );
  expect(await answer).toStartWith("HTTP/1.1 400 ");
  expect(door.ended.map(({ failure }) => failure?.code)).toEqual(["invalid-request"]);
  socket.destroy();
});

test.each(["100-Continue", "100-continue"])(
  "T20: a client that waits for permission to send with Expect: %s is answered at once",
  async (expected) => {
    await using door = new Door(() => said("ran"));
    const { socket, heard } = listenTo(door);
    const answer = heard(/HTTP\/1\.1 \d+/g, 1);
    socket.write(postText([`Content-Length: ${ping.length}`, `Expect: ${expected}`]));
    const small = expected === "100-continue";
    expect(await answer).toStartWith(small ? "HTTP/1.1 100 " : "HTTP/1.1 417 ");
    if (small) {
      const rest = heard(/"result"/g, 1);
      socket.write(ping);
      expect(await rest).toContain("HTTP/1.1 200 ");
    } else {
      expect((await answer).toLowerCase()).toContain("connection: close");
      expect(door.ended.map(({ failure }) => failure?.code)).toEqual(["unknown-expectation"]);
    }
    socket.destroy();
  },
);
