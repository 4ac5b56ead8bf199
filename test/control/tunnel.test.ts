import { expect, setDefaultTimeout, test } from "bun:test";
import { attach } from "../../src/control/client.ts";
import type { ServedTunnel } from "../../src/control/contract.ts";
import { silent } from "../../src/core/log.ts";
import { TempDir } from "../support/temp-dir.ts";
import { PerTurnCounter, use } from "../support/turns.ts";
import { until } from "../support/until.ts";
import { listenWith } from "../support/control-server.ts";

setDefaultTimeout(30_000);

/** Both ends of a tunnel through a control socket. */
async function tunnelled(more: Parameters<typeof listenWith>[2] = {}) {
  const at = new TempDir();
  const socket = at.path("control.sock");
  const served = Promise.withResolvers<ServedTunnel>();
  const server = await listenWith(socket, { attach: (_ctx, tunnel) => served.resolve(tunnel) }, more);
  const client = await attach(socket, { version: "1", key: "k" });
  return {
    socket,
    client,
    served: await served.promise,
    [Symbol.dispose]() {
      client.close();
      server.close();
      at[Symbol.dispose]();
    },
  };
}

test("D15: lines that a client does not read are queued without limit, and all arrive when it reads on", async () => {
  using ends = await tunnelled();
  const { client, served } = ends;
  const seen: string[] = [];
  client.onLine((line) => seen.push(`${line.slice(0, 2)}${line.length}`));
  client.pause();
  const size = 14 << 20;
  for (let i = 1; i <= 6; i++) expect(served.send(`${i}:`.padEnd(size, "x"))).toBe(true);
  expect(served.queued).toBeGreaterThan(64 << 20);
  expect(seen).toEqual([]);
  client.resume();
  await until(() => seen.length === 6, "all lines");
  expect(seen).toEqual([1, 2, 3, 4, 5, 6].map((i) => `${i}:${size}`));
  expect(served.queued).toBe(0);
});

test("D15: lines from the server are kept until the client listens", async () => {
  using ends = await tunnelled();
  ends.served.send("early");
  // By then the line has arrived.
  (await attach(ends.socket, { version: "1" })).close();
  const seen: string[] = [];
  ends.client.onLine((line) => seen.push(line));
  ends.served.send("late");
  await until(() => seen.includes("late"), "both lines");
  expect(seen).toEqual(["early", "late"]);
});

test("D15: a message may be longer than any answer of the control protocol", async () => {
  using ends = await tunnelled();
  const { client, served } = ends;
  const lengths: number[] = [];
  client.onLine((line) => lengths.push(line.length));
  served.send("x".repeat(40 << 20));
  await until(() => lengths.length === 1, "the message");
  expect(lengths).toEqual([40 << 20]);
});

test("D15: lines that the server has not read yet wait at the client, `drained` resolves after them, and none is lost", async () => {
  using ends = await tunnelled();
  const { client, served } = ends;
  const seen: string[] = [];
  served.onLine((line) => seen.push(line.slice(0, 2)));
  for (let i = 1; i <= 6; i++) expect(client.send(`${i}:`.padEnd(14 << 20, "x"))).toBe(true);
  const drained = client.drained();
  expect(await Promise.race([drained, Promise.resolve("not yet")])).toBe("not yet");
  expect(client.send("7:")).toBe(true);
  await drained;
  await until(() => seen.length === 7, "all lines");
  expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7].map((i) => `${i}:`));
});

test("D15: a slow client gets everything that was sent before its tunnel was closed, and the reason", async () => {
  using ends = await tunnelled();
  const { client, served } = ends;
  const seen: string[] = [];
  client.onLine((line) => {
    seen.push(line.slice(0, 2));
    client.pause();
    // Opening another connection gives the first one time.
    void attach(ends.socket, { version: "1" }).then((other) => (other.close(), client.resume()));
  });
  const told = new Promise((resolve) => client.onClose(resolve));
  for (let i = 1; i <= 6; i++) served.send(`${i}:`.padEnd(14 << 20, "x"));
  served.close("The server has ended.");
  expect(await told).toBe("The server has ended.");
  expect(seen).toEqual(["1:", "2:", "3:", "4:", "5:", "6:"]);
});

test("D15: `drained` resolves when the tunnel is closed", async () => {
  using ends = await tunnelled();
  ends.client.send("x".repeat(14 << 20));
  const drained = ends.client.drained();
  ends.client.close();
  await drained;
  await ends.client.drained();
});

test("a client that floods its tunnel does not block others, and its lines stay in order", async () => {
  using ends = await tunnelled();
  const { client, served } = ends;
  using turns = new PerTurnCounter();
  const seen: number[] = [];
  served.onLine((line) => {
    turns.count();
    use(1);
    seen.push(Number(line.trim()));
  });
  const lines = Array.from({ length: 200 }, (_, at) => at);
  for (const at of lines) client.send(String(at).padEnd(2_000));
  await until(() => seen.length === lines.length, "all lines");
  expect(seen).toEqual(lines);
  expect(turns.most).toBeLessThanOrEqual(10);
});

test("T42, D15: a client that is cut off gets at most one unread line and is gone within a second, even during a slow close", async () => {
  for (const late of [false, true]) {
    using ends = await tunnelled();
    const { client, served } = ends;
    const seen: string[] = [];
    client.onLine((line) => seen.push(line.slice(0, 2)));
    client.pause();
    for (let i = 1; i <= 6; i++) expect(served.send(`${i}:`.padEnd(14 << 20, "x"))).toBe(true);
    const heard: string[] = [];
    served.onLine((line) => heard.push(line));
    const gone = new Promise((resolve) => served.onClose(resolve));
    if (late) served.close("The client left too much unread.");
    const from = performance.now();
    served.cutOff("The key was revoked.");
    client.send("said too late");
    expect(served.queued).toBeLessThan(15 << 20);
    await gone;
    expect(performance.now() - from).toBeLessThan(1_000);
    expect([seen, heard]).toEqual([[], []]);
  }
});

test("T42: a client that still reads is told why it is cut off", async () => {
  using ends = await tunnelled();
  const { client, served } = ends;
  const seen: string[] = [];
  client.onLine((line) => seen.push(line.slice(0, 2)));
  const told = new Promise((resolve) => client.onClose(resolve));
  for (let i = 1; i <= 3; i++) served.send(`${i}:`.padEnd(2 << 20, "x"));
  const gone = new Promise((resolve) => served.onClose(resolve));
  served.cutOff("The key was revoked.");
  expect(await told).toBe("The key was revoked.");
  expect(seen).toEqual(["1:"]);
  await gone;
  expect(served.send("4:")).toBe(false);
});

test("R60: the maximum length of a message is the one when it arrives, not when its tunnel was opened", async () => {
  let most = 10;
  using ends = await tunnelled({ tunnelLine: () => most });
  const { client, served } = ends;
  const lengths: number[] = [];
  served.onLine((line) => lengths.push(line.length));
  const sent = async (): Promise<void> => {
    const before = lengths.length;
    client.send("x".repeat(20));
    await until(() => lengths.length > before, "the message");
  };
  await sent();
  most = 20;
  await sent();
  expect(lengths).toEqual([10, 20]);
});

test("D15: if the server fails on a message, the client is cut off and the reason is logged", async () => {
  const said: unknown[] = [];
  const log = { ...silent, error: (message: string, facts?: object) => void said.push([message, facts]) };
  const tunnelLine = (): number => {
    throw new Error("nobody knows");
  };
  using ends = await tunnelled({ tunnelLine, log });
  const { client, served } = ends;
  const gone = Promise.all([client, served].map((end) => new Promise<void>((resolve) => end.onClose(() => resolve()))));
  client.send("{}");
  await gone;
  expect(said).toEqual([["a control connection failed", { cause: "nobody knows" }]]);
  await attach(ends.socket, { version: "1", key: "k" }).then((again) => again.close());
});
