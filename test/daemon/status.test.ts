import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Engine } from "../../src/daemon/engine.ts";
import { serverHandlers } from "../../src/daemon/handlers/servers.ts";
import { consumersOf, statusOf } from "../../src/daemon/handlers/status.ts";
import { notReady, readinessOf } from "../../src/daemon/readiness.ts";
import { openUsageStore } from "../../src/store/sqlite/usage.ts";
import { nothing } from "../../src/usage/counters.ts";
import { note } from "../support/audit.ts";
import { admin } from "../support/context.ts";
import { fake, Place, self, strongKey } from "../support/daemon.ts";
import { fullDisk } from "../support/full-disk.ts";
import { bootIn } from "../support/in-process.ts";
import { keyRequest } from "../support/key-store.ts";

test("R114 R115 /ready shows the awaited servers and a freeze, and is ready only between startup and shutdown", async () => {
  using place = new Place(null);
  const gate = place.path("gate");
  const { command, args, ...rest } = fake("fake");
  const late = ["-c", 'until [ -e "$0" ]; do sleep 0.02; done; exec "$@"', gate, command, ...args];
  const servers = [{ ...rest, command: "sh", args: late }];
  place.configure({ servers, auth: { type: "none", roles: ["user", "reader"] } });
  await using booted = await bootIn(place);
  const { engine } = booted;
  const waits = { state: "starting", waitsFor: ["fake"] };
  expect(readinessOf(engine, "starting")).toMatchObject({ ready: false, detail: waits });
  // Servers that start later, as after a reload, are not waited for.
  expect(readinessOf(engine, "ready")).toMatchObject({ ready: true, detail: { waitsFor: [] } });
  expect(notReady(engine, "draining")).toBe("it is draining");
  writeFileSync(gate, "");
  await engine.upstreams().booted();
  const auth = "none: every local caller is anonymous (user, reader)";
  const detail = { state: "ready", waitsFor: [], auth, frozen: false, servers: [{ id: "fake", state: "ready" }] };
  expect(readinessOf(engine, "ready")).toMatchObject({ ready: true, detail });
  expect(readinessOf(engine, "draining")).toMatchObject({ ready: false, detail: { state: "draining" } });
  engine.stores.keyring.freeze();
  expect(readinessOf(engine, "ready")).toMatchObject({ ready: true, detail: { frozen: true } });
}, 30_000);

test("R115 P5 /ready is not ready and says why while the log cannot record", async () => {
  using place = new Place({ servers: [] });
  await using booted = await bootIn(place);
  const { engine } = booted;
  expect(readinessOf(engine, "ready")).toMatchObject({ ready: true, detail: { auth: "api-key", audit: { ok: true } } });
  using _full = fullDisk(join(place.state, "audit/main.db"), "INSERT ON audit");
  await engine.stores.audit.recordEvent(note).catch(() => {});
  const reason: unknown = expect.stringContaining("disk full");
  expect(readinessOf(engine, "ready")).toMatchObject({ ready: false, detail: { audit: { ok: false, reason } } });
});

/** Returns the status of a daemon that is ready and up to date with its files. */
const statusIn = (engine: Engine) =>
  statusOf(engine, self, { startedAt: 7, state: () => "ready", listen: () => [], outdated: () => [] });

test("R29 status shows the rate limits, and warns about missing limits, missing authentication and unrecorded calls", async () => {
  const open = { servers: [], auth: { type: "none", roles: ["user"] }, audit: { onFailure: "allow" } };
  const apart = "auth.type is none: callers are not authenticated";
  const unrecorded = "audit.onFailure is allow; calls that passed unrecorded: 0";
  const unlimited = "no rate limits are configured: callers are not limited";
  const limits = { perMinute: 60, burst: 5, perTool: [{ tool: "x:y", perMinute: 1 }] };
  const key = { id: "k", key: strongKey(), consumerId: "k", roles: ["user"], rateLimit: 3 };
  for (const [config, said, limitedBy] of [
    [open, [unrecorded, apart, unlimited], "none"],
    [{ servers: [], limits }, [], "60 calls a minute per consumer, bursts of 5, 1 in limits.perTool"],
    [
      { servers: [], auth: { keys: [key, { ...key, id: "off", key: strongKey(), enabled: false }] } },
      [],
      "rateLimit of 1 key",
    ],
  ] as const) {
    using place = new Place(config);
    await using booted = await bootIn(place);
    const { engine } = booted;
    const status = statusIn(engine);
    const general = [apart, unrecorded, unlimited];
    expect(status.warnings.filter((each) => general.includes(each))).toEqual([...said]);
    expect(status).toMatchObject({ startedAt: 7, limits: limitedBy, frozen: false, notReady: null });
  }
}, 30_000);

test.skipIf(process.getuid?.() !== 0)(
  "status warns about running as root if a server runs as a process, but not for a disabled server (needs root)",
  async () => {
    for (const enabled of [true, false]) {
      using place = new Place({ servers: [fake("fake", [], { enabled })] });
      await using booted = await bootIn(place);
      const { engine } = booted;
      expect(statusIn(engine).warnings.some((each) => each.includes("runs as root"))).toBe(enabled);
    }
  },
);

test("R8 servers show names the tools that toolsets leave out because their new names collide", async () => {
  const rename = { "fake:big": "FAKE__hang" };
  using place = new Place({ servers: [fake("fake")], toolsets: [{ id: "desk", include: ["fake:*"], rename }] });
  await using booted = await bootIn(place);
  const { engine } = booted;
  await engine.upstreams().booted();
  const { tools } = await serverHandlers(engine, { state: () => "ready" })["servers.show"]({ id: "fake" }, admin);
  const hidden = tools.flatMap(({ name, hidden: why }) => (why === null ? [] : [`${name} ${why}`]));
  expect(hidden.toSorted()).toEqual([
    expect.stringMatching(/^fake:big toolset desk: its name cannot be distinguished/),
    expect.stringMatching(/^fake:hang toolset desk: its name cannot be distinguished/),
  ]);
});

test("R23 P5 status warns about acts in effect that are neither recorded nor stored", async () => {
  using place = new Place({ servers: [] });
  await using booted = await bootIn(place);
  const { engine } = booted;
  const { audit, keyring } = engine.stores;
  const { id } = keyring.create(keyRequest());
  using _log = fullDisk(join(place.state, "audit/main.db"), "INSERT ON audit");
  using _keys = fullDisk(join(place.state, "mcpgw.db"), "UPDATE ON api_key");
  keyring.revoke(id);
  await audit.recordDone({ type: "key.revoked", actor: "system", facts: { key: id, uid: 0, gid: 0, pid: 1 } });
  const { warnings } = statusIn(engine);
  expect(warnings).toContainEqual(expect.stringContaining("the audit log cannot record: "));
  expect(warnings).toContain("acts that took effect but are not recorded yet: 1");
  expect(warnings).toContain("revoked keys or a freeze are in effect but not stored yet");
});

test.each([true, false])(
  "R13 consumers shows active keys, roles, and calls if metering is on (%p)",
  async (enabled) => {
    using place = new Place({ servers: [], usage: { enabled } });
    await using booted = await bootIn(place);
    const { engine, archive } = booted;
    const { keyring } = engine.stores;
    const { id } = keyring.create(keyRequest({ roles: ["writer"] }));
    keyring.create(keyRequest({ roles: ["reader", "admin"] }));
    keyring.revoke(id);
    const now = Math.floor(Date.now() / 3_600_000);
    const row = { ...nothing, consumer: "agent", server: "s", tool: "t" };
    {
      using store = openUsageStore(join(place.state, "mcpgw.db"));
      store.apply(
        "gone",
        0,
        1,
        [-30, -3].map((ago) => ({ ...row, hour: now + ago, calls: -ago })),
      );
    }
    // Calls of the last day only.
    const [calls, none] = enabled ? [3, 0] : [null, null];
    const roles = ["admin", "reader", "writer"];
    expect(await consumersOf(engine, archive)).toEqual([
      { consumer: "agent", roles, keys: 1, inFlight: 0, calls, errors: none, denied: none },
    ]);
  },
);
