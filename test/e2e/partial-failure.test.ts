import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { httpOptions } from "../../src/upstream/options.ts";
import { daemonCommand, everything, fake, Place, start } from "../support/daemon.ts";
import { canMount } from "../support/tmpfs.ts";
import { until } from "../support/until.ts";
import { serveFake } from "../support/upstream.ts";
import { answerOf, eventsOf, initialize, modern, pick, request, send, textOf } from "../support/wire.ts";

// A server that cannot serve, or that a reload adds, does not affect what the others offer.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const policies = [everything()];

const omitted = (json: unknown): unknown =>
  (pick(json, "result._meta") as Record<string, unknown> | undefined)?.["mcpgw.dev/omitted"];
const serversIn = (json: unknown): string[] => {
  const names = (pick(json, "result.tools") as { name: string }[]).map(({ name }) => name.split("__")[0] ?? "");
  return [...new Set(names)];
};

test("FIELD T2: servers that cannot be started or reached fail no handshake, no list and no other call", async () => {
  const missing = { id: "missing", command: "/nowhere/no-such-program" };
  const unreachable = { id: "unreachable", url: "http://127.0.0.1:9/mcp" };
  await using daemon = await start({ servers: [missing, fake("good"), unreachable], policies });
  const key = await daemon.place.key("alice");
  const opened = await daemon.post(initialize(), { key });
  expect([opened.status, pick(opened.json, "result.protocolVersion")]).toEqual([200, "2025-11-25"]);
  const discover = modern("server/discover");
  expect((await daemon.post(discover.body, { key, headers: discover.headers })).status).toBe(200);
  const list = await daemon.post(request("tools/list"), { key });
  expect(serversIn(list.json)).toEqual(["good"]);
  expect(omitted(list.json)).toEqual([
    { server: "missing", reason: expect.stringContaining("ENOENT") },
    { server: "unreachable", reason: expect.stringContaining("ECONNREFUSED") },
  ]);
  expect(textOf((await daemon.call("good__echo", { n: 1 }, key)).json)).toContain('"n":1');
  const down = await daemon.call("missing__echo", {}, key);
  expect(pick(down.json, "result.isError")).toBe(true);
  expect(textOf(down.json)).toStartWith('The server "missing" is not available: ');
  const [refused] = pick(await daemon.place.json("audit", "log", "--status", "error"), "records") as unknown[];
  expect(refused).toMatchObject({ type: "call.refused", tool: "missing__echo", status: "error" });
  const metrics = (await daemon.get("/metrics")).text;
  expect(metrics).toContain('mcpgw_server_ok{server="good"} 1');
  expect(metrics).toContain('mcpgw_server_ok{server="missing"} 0');
});

test.skipIf(!canMount())(
  "FIELD T2: unanswered name lookups for more servers than there are threads block neither other servers nor records (needs mount as root)",
  async () => {
    const servers = Array.from({ length: 40 }, (_, n) => ({
      id: `s${n}`,
      ...[{ url: `https://s${n}.test/mcp` }, { url: `wss://s${n}.test/mcp`, transport: "websocket" }][n % 2],
      timeout: "1s",
    }));
    await using served = await serveFake(["--http"]);
    const near = { id: "near", url: served.url.replace("127.0.0.1", "localhost") };
    using place = new Place({ servers: [fake("good"), ...servers, near], policies });
    // Fewer threads than names, as on machines that allow few processes.
    using _resolver = await silentResolver(place, "UV_THREADPOOL_SIZE=16");
    await using daemon = await place.start();
    const key = await place.key("alice");
    for (const id of ["good", "near"])
      expect(textOf((await daemon.call(`${id}__echo`, { n: 1 }, key)).json)).toContain('"n":1');
  },
);

test.skipIf(!canMount()).each(["--http", "--pair", "--websocket"])(
  "FIELD T2: a server is reached by name despite unresolvable names in a small thread pool (%s; needs mount as root)",
  async (flag) => {
    await using served = await serveFake([flag]);
    const { transport } = httpOptions.parse(served.options);
    const known = { id: "good", url: served.url.replace("127.0.0.1", "good.test"), transport };
    const unknown = { id: "unknown", url: `${known.url.split(":")[0]}://unknown.invalid/mcp`, transport };
    using place = new Place({ servers: [unknown, known], policies });
    place.prefix = withMounted(place, "/etc/hosts", "127.0.0.1 good.test\n", "UV_THREADPOOL_SIZE=3");
    await using daemon = await place.start();
    const key = await daemon.place.key("alice");
    expect(textOf((await daemon.call("good__echo", { n: 1 }, key)).json)).toContain('"n":1');
    const list = (await daemon.post(request("tools/list"), { key })).json;
    expect(omitted(list)).toEqual([
      { server: "unknown", reason: expect.stringMatching(/its address cannot be reached \((ENOTFOUND|EAI_AGAIN)\)/) },
    ]);
  },
);

/** Returns a prefix that runs commands with this text as that file, and with these variables. */
function withMounted(place: Place, file: string, text: string, ...env: readonly string[]): string[] {
  const own = place.path("mounted");
  writeFileSync(own, text);
  return ["env", ...env, "unshare", "--mount", "sh", "-c", `mount --bind "$0" ${file} && exec "$@"`, own];
}

/** Makes the place's commands use a resolver that never answers. */
async function silentResolver(place: Place, ...env: readonly string[]): Promise<Disposable> {
  const hostname = "127.77.0.53";
  const socket = await Bun.udpSocket({ hostname, port: 53 });
  place.prefix = withMounted(place, "/etc/resolv.conf", `nameserver ${hostname}\noptions timeout:30\n`, ...env);
  return { [Symbol.dispose]: () => socket.close() };
}

test("FIELD T3: a second server is listed next to the first, whose names do not change", async () => {
  await using daemon = await start({ servers: [fake("one")], policies });
  const key = await daemon.place.key("alice");
  const list = async () => (await daemon.post(request("tools/list"), { key })).json;
  const before = pick(await list(), "result.tools") as unknown[];
  daemon.place.configure({ servers: [fake("one"), fake("two")], policies });
  expect((await daemon.place.cli(["config", "reload"])).code).toBe(0);
  const after = await until(async () => {
    const json = await list();
    return serversIn(json).length > 1 && json;
  }, "the second server is listed");
  expect(serversIn(after)).toEqual(["one", "two"]);
  expect(pick(after, "result.tools")).toEqual(expect.arrayContaining(before));
});

test("FIELD T23: the length of an answer is the length of its bytes, even if the gateway adds to it", async () => {
  await using daemon = await start({ servers: [fake("good")], policies });
  const key = await daemon.place.key("alice");
  const call = modern("tools/call", { name: "good__echo", arguments: { text: "ü€😀" } });
  const { headers, text } = await daemon.post(call.body, { key, headers: call.headers });
  expect(text).toContain("ü€😀");
  expect(text).toContain("io.modelcontextprotocol/serverInfo");
  expect(headers.get("content-length")).toBe(String(Buffer.byteLength(text)));
});

/** Returns a server that starts once a file with this name exists. */
function late(mark: string) {
  const { command, args, ...rest } = fake("late", [], { protocol: "legacy" });
  const wait = ["-c", 'until test -e "$0"; do sleep 0.02; done; exec "$@"', mark];
  return { ...rest, command: "sh", args: [...wait, command, ...args] };
}

test("FIELD T52: a list requested while a server starts is answered after a while without it, and its arrival is notified", async () => {
  using place = new Place({ servers: [fake("good"), late("go")], policies });
  const child = place.spawn(daemonCommand);
  try {
    await until(() => existsSync(join(place.state, "control.sock")), "it listens");
    const url = new URL(String(pick(await place.json("status"), "listen.0"))).origin;
    const key = await place.key("alice");
    const filter = { notifications: { toolsListChanged: true } };
    const { body, headers } = modern("subscriptions/listen", filter);
    const heard = eventsOf(await send(url, body, { key, headers }));
    const list = async () => (await answerOf(await send(url, request("tools/list"), { key }))).json;
    const first = await list();
    expect(serversIn(first)).toEqual(["good"]);
    expect(omitted(first)).toEqual([{ server: "late", reason: "it is starting" }]);
    writeFileSync(join(place.dir, "go"), "");
    for await (const event of heard) {
      if (pick(event, "method") !== "notifications/tools/list_changed") continue;
      if (serversIn(await list()).includes("late")) break;
    }
    expect(omitted(await list())).toBeUndefined();
  } finally {
    child.kill("SIGTERM");
    await child.exited;
  }
}, 60_000);
