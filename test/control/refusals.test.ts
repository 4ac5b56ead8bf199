import { expect, test } from "bun:test";
import { chmodSync, lchownSync, mkdirSync, symlinkSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { connect } from "../../src/control/client.ts";
import { Failure } from "../../src/core/failure.ts";
import { silent } from "../../src/core/log.ts";
import { serverPerTest } from "../support/control-server.ts";
import { reasonOf } from "../support/failure.ts";
import { until } from "../support/until.ts";

const { at, socket, start, raw } = serverPerTest();

test("D15: a refused client gets the reason, with a key or without", async () => {
  await start({}, { maxConnections: 1 });
  await connect(socket(), { version: "1" });
  for (const key of [null, "k"]) {
    const refused = await reasonOf(connect(socket(), { version: "1", key }));
    expect(refused).toMatchObject({ name: "Refusal", code: "busy", message: expect.stringContaining("too many") });
  }
});

test("T21, T50: a deeply nested line is refused before it is parsed, since parsing would block all callers", async () => {
  await start({});
  const peer = await raw();
  const nested = (levels: number): string => `${"[".repeat(levels)}${"]".repeat(levels)}`;
  // The message and its parameters add two levels.
  for (const levels of [254, 255])
    peer.send(`{"jsonrpc":"2.0","id":${levels},"method":"unheard-of","params":{"deep":${nested(levels)}}}\n`);
  const answers = await peer.answers(2);
  expect(answers.toSorted((a, b) => Number(b.id) - Number(a.id))).toMatchObject([
    { id: 254, error: { message: 'unknown operation "unheard-of"' } },
    { id: null, error: { code: -32600, message: "The message is nested deeper than 256 levels; flatten it." } },
  ]);
});

test("T50: an id belongs to one request at a time, and a tunnel requires a connection of its own", async () => {
  let attached = 0;
  const attach = (): void => void attached++;
  await start({ "keys.revoke": () => new Promise(() => {}), attach });
  const peer = await raw();
  const request = '{"jsonrpc":"2.0","id":7,"method":"keys.revoke","params":{"id":"k"}}\n';
  peer.send(`${request}${request}{"jsonrpc":"2.0","id":8,"method":"attach"}\n`);
  expect(await peer.answers(2)).toMatchObject([
    { id: 7, error: { message: "this id is already in use" } },
    { id: 8, error: { message: "attach requires a connection of its own" } },
  ]);
  expect(attached).toBe(0);
});

test("T50: other requests are refused while a tunnel is opened, since their answers would not be counted for anyone", async () => {
  let asked = 0;
  await start({ "servers.logs": () => ((asked += 1), { lines: [] }), attach: () => {} });
  const peer = await raw();
  const attach = '{"jsonrpc":"2.0","id":1,"method":"attach"}\n';
  peer.send(`${attach}{"jsonrpc":"2.0","id":2,"method":"servers.logs","params":{"id":"a"}}\n`);
  const answers = await peer.answers(2);
  expect(answers.toSorted((a, b) => Number(a.id) - Number(b.id))).toMatchObject([
    { id: 1, result: {} },
    { id: 2, error: { message: "attach requires a connection of its own" } },
  ]);
  expect(asked).toBe(0);
});

test("T50: a tunnel is refused while answers are queued, since these would not be counted for anyone", async () => {
  let asked = 0;
  let attached = 0;
  const attach = (): void => void attached++;
  await start({ "servers.logs": () => ((asked += 1), { lines: ["x".repeat(3 << 20)] }), attach });
  const peer = await raw();
  peer.pause();
  const request = (id: number): string => `{"jsonrpc":"2.0","id":${id},"method":"servers.logs","params":{"id":"a"}}\n`;
  peer.send(request(1));
  await until(() => asked === 1, "the request");
  // By then the answer is being sent.
  await setImmediate();
  peer.send(`{"jsonrpc":"2.0","id":2,"method":"attach"}\n${request(3)}`);
  await until(() => asked === 2 || attached === 1, "what follows");
  peer.resume();
  expect((await peer.answers(2))[1]?.error?.message).toBe("attach requires a connection of its own");
  expect(attached).toBe(0);
});

test("a failure is logged, and shows operators its internal cause only if they can fix it", async () => {
  const faults = [
    new Error("first detail"),
    new Failure("crowded", "The server is gone.", { internal: "second detail" }),
    new Failure("audit-unavailable", "No record can be written.", { internal: "the disk is full" }),
  ];
  const logged: unknown[] = [];
  const log = { ...silent, error: (_message: string, facts?: object) => void logged.push(facts) };
  const rotate = (): never => {
    throw faults[logged.length] ?? new Error("no more");
  };
  await start({ "keys.rotate": rotate }, { log });
  const client = await connect(socket(), { version: "1" });
  const told: unknown[] = [];
  for (const _ of faults) told.push(await reasonOf(client.call("keys.rotate", { id: "k" })));
  expect(told).toMatchObject([
    { code: "internal", message: "internal error in the daemon; see its log" },
    { code: "internal", message: expect.not.stringContaining("detail") },
    { code: "internal", message: expect.stringMatching(/^No record can be written\..* \(the disk is full\)$/) },
  ]);
  expect(logged).toEqual([
    { why: expect.stringContaining("first detail") },
    { why: "second detail" },
    { why: "the disk is full" },
  ]);
});

test("a client without a key, which has nothing to lose, connects wherever the socket is", async () => {
  await start();
  chmodSync(at().dir, 0o777);
  const client = await connect(socket(), { version: "1" });
  expect((await client.call("status", {})).state).toBe("ready");
});

test.skipIf(process.getuid?.() !== 0)(
  "a key is not sent if the path to the socket has a link that another user created (needs root)",
  async () => {
    const path = (...names: string[]) => at().path(...names);
    mkdirSync(path("run"), { mode: 0o700 });
    await start({}, { path: path("run", "control.sock") });
    chmodSync(at().dir, 0o777);
    symlinkSync("run", path("link"));
    const key = (): Promise<unknown> => reasonOf(connect(path("link", "control.sock"), { version: "1", key: "k" }));
    expect(await key()).toBeNull();
    lchownSync(path("link"), 65534, 65534);
    expect(await key()).toMatchObject({ code: "denied", message: expect.stringContaining("was created by uid 65534") });
  },
);
