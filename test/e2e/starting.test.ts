import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { lockHolder, tryLock } from "../../src/core/libc.ts";
import { Daemon, daemonCommand, everything, fake, Place } from "../support/daemon.ts";
import { until } from "../support/until.ts";
import { eventsOf, pick, request } from "../support/wire.ts";

setDefaultTimeout(30_000);

// What a client gets while servers are still starting.

/** Returns a server that starts only once `file` exists. */
function late(id: string, file: string) {
  const { command, args, ...rest } = fake(id, [], { protocol: "legacy", timeout: "60s" });
  return {
    ...rest,
    command: "sh",
    args: ["-c", 'until [ -e "$0" ]; do sleep 0.05; done; exec "$@"', file, command, ...args],
  };
}

test("R114: a daemon that is reloaded while it starts is ready once the servers of the new file are ready", async () => {
  using place = new Place(null);
  const [first, second] = ["first", "second"].map((id) => ({ servers: [late(id, place.path(id))] }));
  place.configure(first);
  await using daemon = new Daemon(place, place.spawn(daemonCommand));
  const state = async () => (await place.cli(["status", "--json"])).stdout;
  await until(async () => (await state()).includes("first"), "the first server to be waited for");
  place.configure(second);
  await place.cli(["config", "reload"]);
  await until(async () => pick(await place.json("servers", "list"), "servers.0.id") === "second", "the reload");
  const types = async () => (await place.records()).map(({ type }) => type);
  await until(async () => (await types()).includes("server.stopped"), "the end of the first server");
  expect(await place.json("status")).toMatchObject({ state: "starting", waitsFor: ["second"] });
  writeFileSync(place.path("second"), "");
  await daemon.ready;
  expect(await place.json("status")).toMatchObject({ state: "ready", waitsFor: [] });
});

test("R1: a file that is edited while the daemon starts takes effect once it answers", async () => {
  using place = new Place({ servers: [fake("one")] });
  await place.key("alice");
  const held = tryLock(join(place.state, "audit/main.lock"));
  await using daemon = new Daemon(place, place.spawn(daemonCommand));
  await until(() => lockHolder(join(place.state, "lock")) === daemon.pid, "a daemon that has read the file");
  place.configure({ servers: [fake("one", [], { enabled: false })] });
  held?.[Symbol.dispose]();
  await daemon.ready;
  await daemon.logged(({ msg }) => msg === "configuration loaded");
  expect(await place.json("servers", "list")).toMatchObject({ servers: [{ id: "one", state: "disabled" }] });
});

test("a client waits ten seconds for starting servers, gets what is there by then, and is notified of the rest", async () => {
  using place = new Place(null);
  const file = place.path("begin");
  place.configure({ servers: [fake("quick"), late("late", file)], policies: [everything()] });
  const began = performance.now();
  await using daemon = new Daemon(place, place.spawn(daemonCommand));
  // The log shows the listening address only once the daemon is ready.
  const address = async () => /http:[^"]+(?=\/mcp")/.exec((await place.cli(["status", "--json"])).stdout)?.[0];
  daemon.url = await until(address, "an address");
  const asked = performance.now();
  const key = await place.key("alice");
  const session = await daemon.session(key);
  const names = async (): Promise<string[]> => {
    const { json } = await daemon.post(request("tools/list"), { key, headers: session });
    return (pick(json, "result.tools") as { name: string }[]).map(({ name }) => name);
  };
  const first = await names();
  const answered = performance.now();
  expect([first.includes("quick__echo"), first.includes("late__echo")]).toEqual([true, false]);
  expect(answered - began).toBeGreaterThan(10_000);
  expect(answered - asked).toBeLessThan(19_000);

  const news = eventsOf(await daemon.stream(key, session));
  writeFileSync(file, "");
  expect((await news.next()).value).toMatchObject({ method: "notifications/tools/list_changed" });
  await until(async () => (await names()).includes("late__echo"), "the late server");
}, 60_000);
