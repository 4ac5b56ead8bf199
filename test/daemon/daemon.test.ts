import { expect, setDefaultTimeout, test } from "bun:test";
import { getEventListeners } from "node:events";
import { writeFileSync } from "node:fs";
import { attach, connect } from "../../src/control/client.ts";
import { Cancel, onAbort } from "../../src/core/cancel.ts";
import { Failure } from "../../src/core/failure.ts";
import { queueVerification } from "../../src/daemon/handlers/verify.ts";
import { everything, fake, Place } from "../support/daemon.ts";
import { reasonOf } from "../support/failure.ts";
import { startIn } from "../support/in-process.ts";
import { until } from "../support/until.ts";
import { answerOf, initialize, modern, send, textOf, toolCall, v2025 } from "../support/wire.ts";

setDefaultTimeout(30_000);

const auth = { type: "none", roles: ["user"] };

test("R122: a call that exceeds the drain timeout gets an error, and its end and each session's end are recorded", async () => {
  using place = new Place({ servers: [fake("fake")], auth, policies: [everything()] });
  await using at = await startIn(place);
  const { daemon } = at;
  await send(daemon.url, initialize(), {});
  const hung = send(daemon.url, toolCall("fake__hang", {}), { headers: v2025 }).then(answerOf);
  await until(() => place.calls("fake").length === 1, "the call runs");
  await daemon.stop(0);
  const message = "The gateway is stopping. The call may have run: check before you repeat it.";
  expect(textOf((await hung).json)).toBe(message);
  await at.close();
  const records = await place.records();
  const ends = records.filter(({ type }) => type === "call.end");
  expect(ends).toMatchObject([{ tool: "hang", st: "lost", reason: message }]);
  const closed = records.filter(({ type }) => type === "session.close");
  expect(closed).toMatchObject([{ facts: { reason: "shutdown" } }]);
});

test("R122: a verification still queued at shutdown gets an error, and its end is recorded", async () => {
  const rules = [{ server: "mcpgw", tool: "audit_verify", action: "allow" }];
  using place = new Place({ servers: [], auth, policies: [{ id: "own", roles: ["user"], rules }] });
  await using at = await startIn(place);
  const { daemon, engine } = at;
  const { running, stores } = engine;
  const before = Promise.withResolvers<void>();
  void queueVerification("key:other", new Cancel(), () => before.promise);
  const begin = stores.audit.begin.bind(stores.audit);
  const begun = Promise.withResolvers<void>();
  stores.audit.begin = (call) => begin(call).finally(begun.resolve);
  const asked = send(daemon.url, toolCall("mcpgw__audit_verify", {}), {}).then(answerOf);
  await begun.promise;
  // The verification before it ends once calls are cut off.
  const other = running.add();
  onAbort(other, before.resolve);
  void before.promise.then(() => running.delete(other));
  await daemon.stop(0);
  const message = "The gateway is stopping. The call may have run: check before you repeat it.";
  expect(textOf((await asked).json)).toBe(message);
  await at.close();
  const ends = (await place.records()).filter(({ type }) => type === "call.end");
  expect(ends).toMatchObject([{ tool: "audit_verify", st: "lost", reason: message }]);
});

test("R18: servers of a reload in progress at shutdown are stopped too", async () => {
  using place = new Place({ servers: [], auth, listen: { http: { host: "127.0.0.1", port: 0 } } });
  await using at = await startIn(place);
  const { daemon, engine } = at;
  const { audit } = engine.stores;
  const note = audit.recordEvent.bind(audit);
  const recorded = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  audit.recordEvent = async (event) => {
    await note(event);
    if (event.type !== "config.loaded") return;
    recorded.resolve();
    await goOn.promise;
  };
  place.configure({ servers: [fake("late")], auth });
  const reloaded = daemon.reload("test");
  await recorded.promise;
  const stopped = daemon.stop(10_000).then(() => at.close());
  // By then, anything that the stop does not wait for has run.
  for (let turn = 0; turn < 500; turn++) await new Promise(setImmediate);
  goOn.resolve();
  await Promise.all([stopped, reloaded]);
  expect(await daemon.reload("test").catch(String)).toContain("stopping");
  expect(engine.upstreams().status()).toMatchObject([{ id: "late", state: "stopping", pids: [] }]);
});

test("R18: a server that ends while a shutdown waits for calls is not restarted", async () => {
  using place = new Place({ servers: [fake("busy"), fake("ends")], auth, policies: [everything()] });
  await using at = await startIn(place);
  const { daemon, engine } = at;
  const upstreams = engine.upstreams();
  await upstreams.booted();
  const hung = send(daemon.url, toolCall("busy__hang", {}), {}).then(answerOf);
  await until(() => place.calls("busy").length === 1, "the call runs");
  const stopped = daemon.stop(10_000);
  const status = (id: string) => upstreams.status().find((one) => one.id === id);
  const end = (id: string): void => status(id)?.pids.forEach((pid) => process.kill(pid, "SIGKILL"));
  end("ends");
  await until(() => status("ends")?.restarts === 1, "the time at which it would be");
  expect(status("ends")).toMatchObject({ state: "backoff", pids: [] });
  end("busy");
  await Promise.all([hung, stopped]);
});

test("R18 R122: a server restart is refused during shutdown, because it would only cut off calls", async () => {
  using place = new Place({ servers: [fake("fake")], auth, policies: [everything()] });
  await using at = await startIn(place);
  const { daemon } = at;
  const client = await connect(at.engine.stores.paths.socket, { version: "0" });
  const file = place.path("go-on");
  const running = send(daemon.url, toolCall("fake__slow", { ms: 0, file }), {}).then(answerOf);
  await until(() => place.calls("fake").length === 1, "the call runs");
  const stopped = daemon.stop(10_000);
  expect(await reasonOf(client.call("servers.restart", { id: "fake" }))).toMatchObject({
    code: "unavailable",
    message: "the daemon is stopping",
  });
  writeFileSync(file, "");
  expect(textOf((await running).json)).toBe(JSON.stringify({ ms: 0, file }));
  client.close();
  await stopped;
});

test("R122: a shutdown keeps its timeout even if a reload in progress does not end", async () => {
  using place = new Place({ servers: [fake("fake")], auth, policies: [everything()] });
  await using at = await startIn(place);
  const { daemon, engine } = at;
  const hung = send(daemon.url, toolCall("fake__hang", {}), {});
  await until(() => place.calls("fake").length === 1, "the call runs");
  const { audit } = engine.stores;
  const note = audit.recordEvent.bind(audit);
  const [begun, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  audit.recordEvent = async (event) => {
    begun.resolve();
    await goOn.promise;
    await note(event);
  };
  const reloaded = daemon.reload("test");
  await begun.promise;
  const from = performance.now();
  await daemon.stop(3_000);
  expect(performance.now() - from).toBeLessThan(5_500);
  goOn.resolve();
  await Promise.all([hung, reloaded]);
});

test("T46: during shutdown, new calls on open connections are refused with the notice that they did not run", async () => {
  using place = new Place({ servers: [fake("fake")], auth, policies: [everything(), everything("admin")] });
  await using at = await startIn(place);
  const { daemon, engine } = at;
  await engine.upstreams().booted();
  const socket = new WebSocket(`${daemon.url.replace("http", "ws")}/ws`);
  await new Promise((resolve) => (socket.onopen = resolve));
  const client = await attach(engine.stores.paths.socket, { version: "0" });
  const operator = await connect(engine.stores.paths.socket, { version: "0" });
  const hung = send(daemon.url, toolCall("fake__hang", {}), {});
  await until(() => place.calls("fake").length === 1, "a call runs");
  const stopped = daemon.stop(10_000);
  const call = JSON.stringify(toolCall("fake__echo", { text: "late" }));
  const answers = [Promise.withResolvers<string>(), Promise.withResolvers<string>()] as const;
  socket.onmessage = ({ data }) => answers[0].resolve(String(data));
  client.onLine(answers[1].resolve);
  socket.send(call);
  client.send(call);
  const told = "The gateway is stopping. The call did not run.";
  for (const { promise } of answers) expect(textOf(JSON.parse(await promise))).toBe(told);
  const asked = operator.call("tools.call", { tool: "fake:echo", arguments: { text: "late" } });
  expect(JSON.stringify(await asked)).toContain(told);
  expect(place.calls("fake")).toHaveLength(1);
  engine
    .upstreams()
    .status()
    .forEach(({ pids }) => pids.forEach((pid) => process.kill(pid, "SIGKILL")));
  await Promise.all([hung, stopped]);
  operator.close();
});

test("T40: of two concurrent reloads, the second starts when the first has finished", async () => {
  using place = new Place({ servers: [], auth });
  await using at = await startIn(place);
  const { daemon, engine } = at;
  const { audit } = engine.stores;
  const note = audit.recordEvent.bind(audit);
  const goOn = Promise.withResolvers<void>();
  const actors: string[] = [];
  audit.recordEvent = async (event) => {
    actors.push(event.actor ?? "");
    await goOn.promise;
    await note(event);
  };
  const both = [daemon.reload("one"), daemon.reload("two")];
  for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
  expect(actors).toEqual(["one"]);
  goOn.resolve();
  await Promise.all(both);
  expect(actors).toEqual(["one", "two"]);
});

test("T40: a reload reports what is wrong with the file even if the rejection cannot be recorded", async () => {
  using place = new Place({ servers: [], auth });
  await using at = await startIn(place);
  const { daemon, engine } = at;
  const { audit } = engine.stores;
  audit.recordEvent = () => Promise.reject(new Failure("audit-unavailable", "No log."));
  place.configure("servers: 7\n");
  expect(String(await reasonOf(daemon.reload("test")))).toContain("gateway.yaml:1:10: servers");
});

test("R17: a WebSocket opened after a reload accepts messages up to the new limit", async () => {
  const config = { servers: [fake("fake")], auth, policies: [everything()] };
  using place = new Place({ ...config, limits: { body: "64KiB" } });
  await using at = await startIn(place);
  const { daemon, engine } = at;
  await engine.upstreams().booted();
  const called = async (): Promise<string> => {
    const socket = new WebSocket(`${daemon.url.replace("http", "ws")}/ws`);
    const { promise, resolve } = Promise.withResolvers<string>();
    socket.onclose = ({ reason }) => resolve(`closed: ${reason}`);
    socket.onmessage = ({ data }) => resolve(String(data));
    socket.onopen = () => socket.send(JSON.stringify(toolCall("fake__echo", { text: "x".repeat(200_000) })));
    const answer = await promise;
    socket.close();
    return answer;
  };
  expect(await called()).toStartWith("closed: ");
  place.configure({ ...config, limits: { body: "1MiB" } });
  await daemon.reload("test");
  expect(await called()).toContain("xxx");
});

test("T27 D15: if attached clients of one principal together leave too much unread, the one with the most is cut off", async () => {
  using place = new Place({ servers: [fake("fake")], policies: [everything("admin")], limits: { result: "1MiB" } });
  await using at = await startIn(place);
  const { engine } = at;
  await engine.upstreams().booted();
  const { unread } = engine.traffic;
  const add = unread.add.bind(unread);
  let counted = 0;
  unread.add = (...given) => {
    const uncount = add(...given);
    counted++;
    return () => (counted--, uncount());
  };
  const cutOff: (string | null)[] = [];
  const clients = await Promise.all(
    Array.from({ length: 10 }, () => attach(engine.stores.paths.socket, { version: "0" })),
  );
  const call = JSON.stringify(modern("tools/call", { name: "fake__big", arguments: { size: 1_000_000 } }).body);
  const calls = 9;
  const waiting = JSON.stringify(modern("tools/call", { name: "fake__hang", arguments: {} }).body);
  for (const client of clients) {
    client.onClose((why) => cutOff.push(why));
    client.send(waiting);
    client.pause();
    // Less than the limit of a single client.
    for (let i = 0; i < calls; i++) client.send(call);
  }
  await until(() => counted < clients.length, "one to be cut off", 15_000);
  for (const client of clients) client.resume();
  await until(() => cutOff.length > 0, "its end");
  for (const client of clients) client.close();
  await until(() => counted === 0, "all to be gone");
  // A leaked listener for the end of a caller's rights would keep its whole connection in memory.
  const rights = engine.stores.keyring.frozenSignal();
  expect(getEventListeners(rights, "abort").length).toBeLessThan(3);
  await at.daemon.stop(0);
  await at.close();
  const ends = (await place.records()).filter(({ type, tool }) => type === "call.end" && tool === "hang");
  expect(ends).toHaveLength(clients.length);
  const told = "The client left too much unread. The call may have run: check before you repeat it.";
  expect(ends.map(({ reason }) => reason)).toContain(told);
});

test("T27 D15: an attached client that leaves too much unread is cut off, and its calls fail with the reason", async () => {
  using place = new Place({ servers: [fake("fake")], policies: [everything("admin")], limits: { result: "1MiB" } });
  await using at = await startIn(place);
  const { engine } = at;
  await engine.upstreams().booted();
  const client = await attach(engine.stores.paths.socket, { version: "0" });
  const ended = Promise.withResolvers<string | null>();
  client.onClose(ended.resolve);
  client.pause();
  const send = (name: string, args: object): void =>
    void client.send(JSON.stringify(modern("tools/call", { name: `fake__${name}`, arguments: args }).body));
  send("hang", {});
  await until(() => place.calls("fake").length === 1, "the call runs");
  for (let i = 0; i < 12; i++) send("big", { size: 1_000_000 });
  await until(() => engine.running.size === 0, "its end", 15_000);
  client.resume();
  expect(await ended.promise).toBe("The client left too much unread.");
  await at.daemon.stop(0);
  await at.close();
  const ends = (await place.records()).filter(({ type, tool }) => type === "call.end" && tool === "hang");
  expect(ends).toMatchObject([{ st: "lost", reason: expect.stringMatching(/^The client left too much unread\. /) }]);
});
