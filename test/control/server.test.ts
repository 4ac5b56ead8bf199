import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, writeFileSync } from "node:fs";
import { attach, connect } from "../../src/control/client.ts";
import type { Input } from "../../src/control/api.ts";
import type { ServedTunnel } from "../../src/control/contract.ts";
import { Refusal, Unreachable } from "../../src/control/refusal.ts";
import { silent } from "../../src/core/log.ts";
import { until } from "../support/until.ts";
import { serverPerTest } from "../support/control-server.ts";
import { reasonOf } from "../support/failure.ts";

const { at, socket, start, stop, raw } = serverPerTest();

describe("calls", () => {
  test("R124 D9 D10: the answer is the handler's result, and the kernel identifies the caller", async () => {
    const peers: unknown[] = [];
    await start({
      "keys.revoke": ({ id }, { peer, key }) => {
        peers.push({ uid: peer.uid, pid: peer.pid, access: peer.access, key });
        return { id, recorded: true };
      },
    });
    const client = await connect(socket(), { version: "1.2.3", key: "mcpgw_secret" });
    expect(client.hello).toEqual({ version: "1.2.3", pid: process.pid, access: "admin" });
    expect(await client.call("keys.revoke", { id: "key-1" })).toEqual({ id: "key-1", recorded: true });
    expect(peers).toEqual([{ uid: process.getuid?.(), pid: process.pid, access: "admin", key: "mcpgw_secret" }]);
  });

  test("input is checked against the table: defaults are filled in, and unknown members are refused with their path", async () => {
    const seen: unknown[] = [];
    await start({ "audit.log": (input) => (seen.push(input), { records: [], more: false }) });
    const client = await connect(socket(), { version: "1.2.3" });
    await client.call("audit.log", { since: "2026-01-31T08:00:00Z" });
    expect(seen).toEqual([{ since: Date.parse("2026-01-31T08:00:00Z") * 1000, limit: 50 }]);
    const bad: [Input<"audit.log">, RegExp][] = [
      [{ limit: 0 }, /audit\.log: limit: /],
      [{ since: "yesterday" }, /since: "yesterday" is not a time/],
      [{ lmit: 3 } as never, /lmit/],
    ];
    for (const [input, message] of bad) {
      const error = await reasonOf(client.call("audit.log", input));
      expect(error).toBeInstanceOf(Refusal);
      expect((error as Refusal).code).toBe("invalid");
      expect((error as Refusal).message).toMatch(message);
    }
    expect(seen).toHaveLength(1);
  });

  test("a refusal reaches the client unchanged, and any other error shows no details", async () => {
    await start({
      "keys.revoke": () => {
        throw new Refusal("not-found", "there is no key k9");
      },
      "keys.rotate": () => {
        throw new Error("secret detail");
      },
    });
    const client = await connect(socket(), { version: "1.2.3" });
    expect(await reasonOf(client.call("keys.revoke", { id: "k9" }))).toMatchObject({
      code: "not-found",
      message: "there is no key k9",
    });
    const internal = await reasonOf(client.call("keys.rotate", { id: "k9" }));
    expect(internal).toMatchObject({ code: "internal" });
    expect(String(internal)).not.toContain("secret");
  });

  test("an answer of several MiB arrives complete despite partial writes", async () => {
    const lines = Array.from({ length: 10_000 }, (_, index) => `${index} ${"x".repeat(400)}`);
    await start({ "servers.logs": () => ({ lines }) });
    const client = await connect(socket(), { version: "1.2.3" });
    expect((await client.call("servers.logs", { id: "a" })).lines).toEqual(lines);
  });

  test("an answer that is too long for clients is refused, and the connection continues", async () => {
    await start({ "servers.logs": () => ({ lines: ["x".repeat(33 << 20)] }) });
    const client = await connect(socket(), { version: "1.2.3" });
    expect(await reasonOf(client.call("servers.logs", { id: "a" }))).toMatchObject({ code: "unavailable" });
    expect((await client.call("status", {})).state).toBe("ready");
  });

  test("without a daemon the client says so", async () => {
    expect(await reasonOf(connect(socket(), { version: "1" }))).toBeInstanceOf(Unreachable);
    writeFileSync(socket(), "");
    expect(await reasonOf(connect(socket(), { version: "1" }))).toBeInstanceOf(Unreachable);
  });

  test("a daemon that goes away fails its open requests", async () => {
    await start({ "keys.revoke": () => new Promise(() => {}) });
    const client = await connect(socket(), { version: "1" });
    const pending = reasonOf(client.call("keys.revoke", { id: "k" }));
    stop();
    expect(await pending).toBeInstanceOf(Unreachable);
  });
});

describe("T50: what a bad peer sends", () => {
  test.each([
    ["no JSON", "hello\n", -32700],
    ["a batch", "[]\n", -32600],
    ["no version", '{"id":1,"method":"status"}\n', -32600],
    ["no method", '{"jsonrpc":"2.0","id":1}\n', -32600],
    ["a broken id", '{"jsonrpc":"2.0","id":1.5,"method":"status"}\n', -32600],
    ["an id of null", '{"jsonrpc":"2.0","id":null,"method":"status"}\n', -32600],
    ["an unknown operation", '{"jsonrpc":"2.0","id":1,"method":"statsu"}\n', -32601],
    ["a name of the prototype", '{"jsonrpc":"2.0","id":1,"method":"constructor"}\n', -32601],
    ["wrong params", '{"jsonrpc":"2.0","id":1,"method":"status","params":7}\n', -32602],
  ])("%s gets its JSON-RPC error", async (_what, text, code) => {
    await start();
    const peer = await raw();
    peer.send(text);
    expect((await peer.answers(1))[0]).toMatchObject({ jsonrpc: "2.0", error: { code } });
    expect(peer.closed()).toBe(false);
  });

  test("an endless line closes the connection at 1 MiB, and others are still served", async () => {
    await start({}, { silence: 60_000 });
    const peer = await raw();
    peer.send(`${"x".repeat((1 << 20) - 1)}\n`);
    await peer.answers(1);
    peer.send("x".repeat((1 << 20) + 1));
    await until(() => peer.closed(), "the connection closed");
    expect(peer.lines()[1]).toContain("a line is longer than 1048576 bytes");
    const client = await connect(socket(), { version: "1" });
    expect((await client.call("status", {})).state).toBe("ready");
  });

  test("the number of connections is limited, and silent ones are closed", async () => {
    await start({}, { maxConnections: 8, silence: 500 });
    const talking = await connect(socket(), { version: "1" });
    const peers = await Promise.all(Array.from({ length: 7 }, raw));
    const late = await raw();
    await until(() => late.closed(), "the ninth is turned away");
    expect(late.lines()[0]).toContain("too many");
    await until(() => peers.every((peer) => peer.closed()), "the silent ones closed");
    const client = await connect(socket(), { version: "1" });
    expect((await client.call("status", {})).pid).toBeGreaterThan(0);
    expect((await talking.call("status", {})).pid).toBeGreaterThan(0);
  });

  test("a peer that requests much and reads nothing is closed, so that its queue stays small", async () => {
    const lines = ["x".repeat(8 << 20)];
    let asked = 0;
    await start({ "servers.logs": () => ((asked += 1), { lines }) });
    const peer = await raw();
    peer.pause();
    const ask = (id: number): string => `{"jsonrpc":"2.0","id":${id},"method":"servers.logs","params":{"id":"a"}}\n`;
    peer.send(Array.from({ length: 20 }, (_, id) => ask(id)).join(""));
    await until(() => asked === 20, "all is answered");
    peer.resume();
    await until(() => peer.closed(), "the connection closed");
    expect(peer.lines().length).toBeLessThan(12);
  });

  test("of many connections that read nothing, those with the most data of one user are closed and logged, but never a tunnel", async () => {
    const lines = ["x".repeat(3 << 20)];
    const cut: unknown[] = [];
    const log = { ...silent, warn: (message: string, facts?: object) => void cut.push({ message, ...facts }) };
    let tunnel: ServedTunnel | null = null;
    const attaching = (_ctx: unknown, opened: ServedTunnel) => Promise.resolve(void (tunnel = opened));
    await start({ "servers.logs": () => ({ lines }), attach: attaching }, { log, maxUnread: 24 << 20 });
    const attached = await attach(socket(), { version: "1" });
    attached.pause();
    for (let sent = 0; sent < 10; sent++) (tunnel as ServedTunnel | null)?.send(lines[0] ?? "");
    const peers = await Promise.all(Array.from({ length: 10 }, raw));
    for (const peer of peers) {
      peer.pause();
      peer.send('{"jsonrpc":"2.0","id":1,"method":"servers.logs","params":{"id":"a"}}\n');
    }
    // Eight times 3 MiB, less what the kernel has taken, are within the limit, so two of ten are closed.
    await until(() => cut.length === 2, "two are cut off");
    for (const peer of peers) peer.resume();
    await until(() => peers.filter((peer) => peer.lines().length > 0).length === 8, "eight are answered");
    const bytes = expect.any(Number);
    const message = "a control connection was closed because its user left too much data unread";
    expect(cut).toEqual([1, 2].map(() => ({ message, uid: process.getuid?.(), bytes })));
    expect((tunnel as ServedTunnel | null)?.queued).toBeGreaterThan(25 << 20);
    attached.close();
    for (const peer of peers) peer.end();
  });

  test("streams of one connection that wait for its reader at the same time lose nothing", async () => {
    const line = "x".repeat(22 << 20);
    const open = Promise.withResolvers<void>();
    let asked = 0;
    await start({
      async *"servers.follow"() {
        asked++;
        await open.promise;
        yield { line };
      },
    });
    const client = await connect(socket(), { version: "1" });
    const read = async (): Promise<number> => {
      let length = 0;
      for await (const event of client.stream("servers.follow", { id: "a" }))
        length += "line" in event ? event.line.length : 0;
      return length;
    };
    const all = Promise.all([read(), read(), read()]);
    await until(() => asked === 3, "three streams");
    open.resolve();
    expect(await all).toEqual([line.length, line.length, line.length]);
    client.close();
  });

  test("the number of running requests of one connection is limited", async () => {
    await start({ "keys.revoke": () => new Promise(() => {}) });
    const client = await connect(socket(), { version: "1" });
    for (let done = 0; done < 65; done++) await client.call("status", {});
    const pending = Array.from({ length: 65 }, () => reasonOf(client.call("keys.revoke", { id: "k" })));
    expect(await Promise.race(pending)).toMatchObject({ code: "busy" });
    client.close();
    await Promise.all(pending);
    // A call on a closed connection fails at once, however late it is made.
    expect(await reasonOf(client.call("status", {}))).toBeInstanceOf(Unreachable);
  });
});

test("a cancelled request gets no answer", async () => {
  const untilAborted = (signal: AbortSignal) =>
    new Promise<never>((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
  await start({ "keys.list": (_input, { signal }) => untilAborted(signal) });
  const peer = await raw();
  peer.send('{"jsonrpc":"2.0","id":1,"method":"keys.list","params":{}}\n');
  // A tunnel requires a connection of its own.
  peer.send('{"jsonrpc":"2.0","id":2,"method":"attach","params":{}}\n');
  peer.send('{"jsonrpc":"2.0","method":"cancel","params":{"id":1}}\n');
  await peer.answers(1);
  peer.send('{"jsonrpc":"2.0","id":3,"method":"status","params":{}}\n');
  expect((await peer.answers(2)).map(({ id, error }) => [id, error?.message])).toEqual([
    [2, "attach requires a connection of its own"],
    [3, undefined],
  ]);
});

describe("attach", () => {
  test("turns the connection into a tunnel for MCP lines in both directions, until either end closes", async () => {
    let closed = false;
    await start({
      attach({ key }, tunnel) {
        tunnel.onLine((line) => tunnel.send(`${key}:${line}`));
        tunnel.onClose(() => (closed = true));
      },
    });
    const tunnel = await attach(socket(), { version: "1", key: "k" });
    const seen: string[] = [];
    tunnel.onLine((line) => seen.push(line));
    // Longer than the maximum line of the control protocol.
    const long = "y".repeat(2 << 20);
    tunnel.send('{"jsonrpc":"2.0","id":1,"method":"ping"}');
    tunnel.send(long);
    await until(() => seen.length === 2, "both echoes");
    expect(seen).toEqual(['k:{"jsonrpc":"2.0","id":1,"method":"ping"}', `k:${long}`]);
    tunnel.close();
    await until(() => closed, "the daemon saw the end");
  });

  test("a tunnel delivers lines up to its current maximum length", async () => {
    let most = 10;
    await start({ attach: (_ctx, tunnel) => tunnel.onLine((line) => tunnel.send(line)) }, { tunnelLine: () => most });
    const echo = async (): Promise<string | undefined> => {
      const tunnel = await attach(socket(), { version: "1", key: "k" });
      const seen: string[] = [];
      tunnel.onLine((line) => seen.push(line));
      tunnel.send("y".repeat(20));
      await until(() => seen.length === 1, "the echo");
      tunnel.close();
      return seen[0];
    };
    expect(await echo()).toBe("y".repeat(10));
    most = 20;
    expect(await echo()).toBe("y".repeat(20));
  });

  test("a refused attach reports the reason", async () => {
    await start({
      async attach() {
        throw new Refusal("denied", "this key is revoked");
      },
    });
    expect(await reasonOf(attach(socket(), { version: "1" }))).toMatchObject({
      code: "denied",
      message: "this key is revoked",
    });
  });
});

describe("a client does not send its key to a socket that another user may have created:", () => {
  const heard: string[] = [];
  const refused = async (path = socket()): Promise<unknown> => {
    const listener = Bun.listen({ unix: path, socket: { data: (_socket, chunk) => void heard.push(String(chunk)) } });
    const error = await reasonOf(connect(path, { version: "1", key: "secret", patience: 1_000 }));
    listener.stop(true);
    return error;
  };

  test("in a directory that others may write to", async () => {
    chmodSync(at().dir, 0o777);
    const message = expect.stringContaining("its directory is writable by others");
    expect([await refused(), heard]).toMatchObject([{ code: "denied", message }, []]);
  });

  test.skipIf(process.getuid?.() !== 0)("in another user's directory under such a directory (needs root)", async () => {
    chownSync(at().dir, 65534, 65534);
    const below = at().path("state");
    mkdirSync(below);
    chownSync(below, 65534, 65534);
    const message = expect.stringContaining(
      `${at().dir} was created by uid 65534 in a directory that others may write to`,
    );
    for (const each of [socket(), `${below}/control.sock`])
      expect([await refused(each), heard]).toMatchObject([{ code: "denied", message }, []]);
  });
});

test("a process that the daemon started is refused, whatever its uid, and this is logged", async () => {
  const warned: unknown[] = [];
  await start({}, { log: { ...silent, warn: (_message, facts) => void warned.push(facts) } });
  const child = Bun.spawn(
    [
      process.execPath,
      "-e",
      `Bun.connect({unix: ${JSON.stringify(socket())}, socket: {data(s, d) {process.stdout.write(d); s.end()}, close() {process.exit()}}})`,
    ],
    { stdout: "pipe" },
  );
  expect(await new Response(child.stdout).text()).toContain("processes started by the gateway");
  expect(warned).toMatchObject([{ uid: process.getuid?.(), pid: child.pid }]);
});
