import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { Keyring } from "../../src/authn/keyring.ts";
import { Refusal } from "../../src/control/refusal.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { AuditEvent } from "../../src/core/event.ts";
import { StoreFailed } from "../../src/core/store.ts";
import { actOf } from "../../src/daemon/handlers/act.ts";
import { type KeyHandlerOptions, keyHandlers } from "../../src/daemon/handlers/keys.ts";
import { openFreeChain } from "../../src/store/open.ts";
import { admin } from "../support/context.ts";
import { Place } from "../support/daemon.ts";
import { reasonOf } from "../support/failure.ts";
import { fullDisk } from "../support/full-disk.ts";
import { keyRequest, memoryKeyStore } from "../support/key-store.ts";
import { isRoot, canBecomeNobody } from "../support/processes.ts";

// Each command is a process, which is slow on a busy machine.
setDefaultTimeout(30_000);

/** Returns the key handlers of a keyring. Recording succeeds, unless `recording` replaces it. */
const handlersOf = (keyring: Keyring, recording: Partial<KeyHandlerOptions["audit"]> = {}) =>
  keyHandlers({
    keyring,
    audit: { recordEvent: async () => {}, recordDone: async () => true, ...recording },
    namedRoles: () => null,
  });

test("R23: a rotation that cannot be recorded leaves only the old key, which stays active", async () => {
  using keyring = new Keyring({ store: memoryKeyStore(), clock: systemClock });
  const { id } = keyring.create(keyRequest({ name: "A", roles: ["user"] }));
  const states = () => Object.fromEntries(keyring.list().map((key) => [key.id, key.state]));
  let full = true;
  const recordEvent = async () => {
    expect(states()[id]).toBe("active");
    if (full) throw new Error("disk full");
  };
  const rotate = handlersOf(keyring, { recordEvent })["keys.rotate"];
  const failed = await Promise.resolve(rotate({ id }, admin)).catch((error: Error) => error.message);
  expect(failed).toBe("disk full");
  expect(states()[id]).toBe("active");
  expect(Object.values(states()).filter((state) => state === "active")).toHaveLength(1);
  full = false;
  const made = await rotate({ id }, admin);
  expect(states()).toMatchObject({ [id]: "revoked", [made.id]: "active" });
});

test("R23 if the configuration exists but cannot be read, keys create refuses instead of using the defaults", async () => {
  using place = new Place("");
  const file = place.path("etc/gateway.yaml");
  const given = ["env", `CONFIGURATION_DIRECTORY=${dirname(file)}`];
  const refused = async (why: string) => {
    const ran = await place.bare(["keys", "create", "A", "agent", "user"]);
    expect(ran).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining(`${file}: ${why}`) });
    expect(existsSync(place.path("unused"))).toBe(false);
  };
  mkdirSync(dirname(file));
  symlinkSync("elsewhere.yaml", file);
  place.prefix = given;
  await refused("is a link to elsewhere.yaml, which does not exist");
  rmSync(file);
  chmodSync(dirname(file), 0);
  place.becomeNobody();
  place.prefix = isRoot ? [...place.prefix, ...given] : given;
  // Root could read the file anyway.
  if (!isRoot || canBecomeNobody) await refused("uid");
  chmodSync(dirname(file), 0o700);
});

test("keys can be created, rotated and listed while the store cannot read when they were last used", async () => {
  const store = memoryKeyStore();
  store.uses = () => {
    throw new Error("disk I/O error");
  };
  using keyring = new Keyring({ store, clock: systemClock });
  const recorded: string[] = [];
  const handlers = handlersOf(keyring, { recordEvent: async ({ type }) => void recorded.push(type) });
  const { id } = await handlers["keys.create"]({ ...keyRequest(), roles: ["user"], cidrs: [] }, admin);
  const next = await handlers["keys.rotate"]({ id }, admin);
  expect(recorded).toEqual(["key.created", "key.rotated"]);
  const { keys } = await handlers["keys.list"]({}, admin);
  expect(keys).toMatchObject([
    { id, state: "revoked", lastUsedAt: null },
    { id: next.id, state: "active", lastUsedAt: null },
  ]);
});

test("R23 T04 a change that grants rights and cannot be stored is refused with the reason and has no effect", async () => {
  const store = memoryKeyStore();
  using keyring = new Keyring({ store, clock: systemClock });
  keyring.freeze();
  const full = () => {
    throw new StoreFailed("mcpgw.db: disk full");
  };
  Object.assign(store, { addKey: full, setFrozen: full });
  const log: string[] = [];
  const handlers = handlersOf(keyring, {
    recordEvent: async ({ type }) => void log.push(type),
    recordDone: async ({ type }) => log.push(type) > 0,
  });
  const create = { ...keyRequest(), roles: ["user"], cidrs: [] };
  for (const act of [() => handlers["keys.create"](create, admin), () => handlers["keys.unfreeze"]({}, admin)]) {
    const refusal = await reasonOf((async () => act())());
    expect(refusal).toBeInstanceOf(Refusal);
    expect(refusal).toMatchObject({ code: "unavailable", message: "mcpgw.db: disk full" });
  }
  expect([keyring.frozen, keyring.list()]).toEqual([true, []]);
  expect(log).toEqual(["key.unfrozen", "key.frozen"]);
});

test("R23 T04 an unfreeze that cannot be stored records no freeze if nothing was frozen", async () => {
  const store = memoryKeyStore();
  using keyring = new Keyring({ store, clock: systemClock });
  store.setFrozen = () => {
    throw new StoreFailed("mcpgw.db: disk full");
  };
  const log: string[] = [];
  const handlers = handlersOf(keyring, {
    recordEvent: async ({ type }) => void log.push(type),
    recordDone: async ({ type }) => log.push(type) > 0,
  });
  const unfreeze = async () => handlers["keys.unfreeze"]({}, admin);
  expect(await reasonOf(unfreeze())).toMatchObject({ code: "unavailable" });
  expect([keyring.frozen, ...log]).toEqual([false, "key.unfrozen"]);
});

test("R23 T04 of two concurrent unfreezes, the second is refused if the first failed and recorded that the freeze continues", async () => {
  const store = memoryKeyStore();
  using keyring = new Keyring({ store, clock: systemClock });
  keyring.freeze();
  const { setFrozen } = store;
  const fullOnce = () => {
    Object.assign(store, { setFrozen });
    throw new StoreFailed("mcpgw.db: disk full");
  };
  Object.assign(store, { setFrozen: fullOnce });
  const log: string[] = [];
  const handlers = handlersOf(keyring, {
    recordEvent: async ({ type }) => void log.push(type),
    recordDone: async ({ type }) => log.push(type) > 0,
  });
  const unfreeze = async () => handlers["keys.unfreeze"]({}, admin);
  const said = await Promise.all([unfreeze(), unfreeze()].map(reasonOf));
  expect(said).toMatchObject([{ code: "unavailable" }, { code: "conflict" }]);
  expect([keyring.frozen, ...log]).toEqual([true, "key.unfrozen", "key.unfrozen", "key.frozen"]);
});

test.each([
  [[60, 8, 50], { groups: "60,50" }],
  [[8], {}],
  [[], {}],
  // More groups than a record can hold: whole group ids only, with the total count.
  [
    [8, ...Array.from({ length: 100 }, (_, index) => 100_000 + index)],
    { groups: `${Array.from({ length: 68 }, (_, index) => 100_000 + index).join()},… of 100` },
  ],
])("D9: an act is recorded with the process that requested it; groups %p", (groups, recorded) => {
  const asked = { ...admin, peer: { uid: 7, gid: 8, pid: 9, groups, access: "admin" } } as const;
  const facts = { key: "k", uid: 7, gid: 8, pid: 9, ...recorded };
  expect<unknown>(actOf(asked, "key.revoked", { key: "k" })).toEqual({ type: "key.revoked", actor: "local:7", facts });
});

test.each([true, false])(
  "R23 T42: a change that removes rights takes effect, and its answer says whether it is recorded (%p)",
  async (recorded) => {
    using keyring = new Keyring({ store: memoryKeyStore(), clock: systemClock });
    const { id } = keyring.create(keyRequest({ name: "A", roles: ["user"] }));
    const handlers = handlersOf(keyring, { recordDone: async () => recorded });
    expect(await handlers["keys.revoke"]({ id }, admin)).toEqual({ id, recorded });
    expect(keyring.list().map(({ state }) => state)).toEqual(["revoked"]);
    expect(await handlers["keys.freeze"]({}, admin)).toEqual({ frozen: true, recorded });
    expect(keyring.frozen).toBe(true);
  },
);

/** Returns a keyring whose acts wait for the disk until `flush`; `log` holds the recorded types in order. */
function withSlowDisk() {
  const keyring = new Keyring({ store: memoryKeyStore(), clock: systemClock });
  const log: string[] = [];
  const disk = Promise.withResolvers<void>();
  const recordEvent = ({ type }: AuditEvent): Promise<void> => {
    log.push(type);
    return disk.promise;
  };
  const handlers = handlersOf(keyring, { recordEvent, recordDone: (act) => recordEvent(act).then(() => true) });
  return { keyring, log, handlers, flush: disk.resolve, [Symbol.dispose]: () => keyring[Symbol.dispose]() };
}

test.each([
  ["keys.unfreeze", "keys.freeze", "key.frozen"],
  ["keys.freeze", "keys.unfreeze", "key.unfrozen"],
] as const)("T42: of concurrent %s and %s, the later one wins, as the log says", async (first, second, newest) => {
  using at = withSlowDisk();
  at.keyring.freeze();
  const outcomes = Promise.allSettled([at.handlers[first]({}, admin), at.handlers[second]({}, admin)]);
  at.flush();
  const frozen = newest === "key.frozen";
  const [earlier, later] = await outcomes;
  expect(earlier).toMatchObject(frozen ? { reason: { code: "conflict" } } : { value: { recorded: true } });
  expect(later).toMatchObject({ value: { frozen } });
  expect(at.keyring.frozen).toBe(frozen);
  expect(at.log.at(-1)).toBe(newest);
});

test("R23: of two concurrent rotations of one key, the second is refused, so that there is one successor", async () => {
  using at = withSlowDisk();
  const { id } = at.keyring.create(keyRequest({ name: "A", roles: ["user"] }));
  const rotate = () => Promise.resolve(at.handlers["keys.rotate"]({ id }, admin));
  const outcomes = Promise.allSettled([rotate(), rotate()]);
  at.flush();
  expect(await outcomes).toMatchObject([
    { status: "fulfilled", value: { consumerId: "agent" } },
    { status: "rejected", reason: { code: "conflict", message: `key ${id} is already being rotated` } },
  ]);
  expect(at.log).toEqual(["key.rotated"]);
  expect(at.keyring.list().map(({ state }) => state)).toEqual(["revoked", "active"]);
});

test.each([
  ["keys.rotate", "keys.revoke", ["revoked", "active"]],
  ["keys.revoke", "keys.rotate", ["revoked"]],
] as const)(
  "R23: after concurrent %s and %s of one key it is revoked, and only a rotation that came first succeeds",
  async (first, second, states) => {
    using at = withSlowDisk();
    const { id } = at.keyring.create(keyRequest({ name: "A", roles: ["user"] }));
    const outcomes = Promise.allSettled([at.handlers[first]({ id }, admin), at.handlers[second]({ id }, admin)]);
    at.flush();
    await outcomes;
    expect(at.keyring.list().map(({ state }) => state)).toEqual([...states]);
  },
);

test("R23 T04 without a daemon, a revocation that cannot be stored is refused and not recorded", async () => {
  using place = new Place({ servers: [] });
  const { id } = await place.newKey("agent");
  using full = fullDisk(join(place.state, "mcpgw.db"), "UPDATE ON api_key");
  const stderr: unknown = expect.stringContaining("the keys cannot be stored now, so nothing was changed");
  expect(await place.cli(["keys", "revoke", id])).toMatchObject({ code: 1, stdout: "", stderr });
  full.free();
  expect((await place.records()).map(({ type }) => type)).not.toContain("key.revoked");
  expect(await place.json("keys", "list")).toMatchObject({ keys: [{ id, state: "active" }] });
});

test("R23 without a daemon, a refused revocation is not stored later either", async () => {
  using place = new Place({ servers: [] });
  const { id } = await place.newKey("agent");
  const { config, state } = place;
  // The store is unlocked after the command was refused and before it ends.
  const program = `
    import { Database } from "bun:sqlite";
    import { openOffline } from ${JSON.stringify(new URL("../../src/daemon/offline-client.ts", import.meta.url).pathname)};
    const client = await openOffline(${JSON.stringify({ config, state })}, { version: "0" });
    await client.call("keys.list", {});
    using other = new Database(${JSON.stringify(join(state, "mcpgw.db"))});
    other.run("BEGIN IMMEDIATE");
    const said = await client.call("keys.revoke", ${JSON.stringify({ id })}).catch(({ message }) => message);
    other.run("ROLLBACK");
    client.close();
    console.log(said);
  `;
  const child = Bun.spawn([process.execPath, "-e", program], { env: place.env(), stdout: "pipe" });
  expect(await child.stdout.text()).toBe("the keys cannot be stored now, so nothing was changed\n");
  expect(await child.exited).toBe(0);
  expect(await place.json("keys", "list")).toMatchObject({ keys: [{ id, state: "active" }] });
});

test("R23 without a daemon, a command that changes keys waits for another one that does", async () => {
  using place = new Place({ servers: [] });
  await place.newKey("agent");
  const other = openFreeChain({ state: place.state, main: null }, ["main"]);
  const child = place.spawn(["keys", "freeze"]);
  const said = child.stderr.getReader();
  expect(String(Buffer.from((await said.read()).value ?? []))).toContain("working directly on");
  other?.[Symbol.dispose]();
  expect(await child.exited).toBe(0);
  const gid = process.getgid?.();
  const groups = (process.getgroups?.() ?? []).filter((group) => group !== gid);
  const asker = { uid: process.getuid?.(), gid, pid: child.pid, ...(groups.length > 0 && { groups: groups.join() }) };
  expect<unknown>((await place.records()).find(({ type }) => type === "key.frozen")?.facts).toEqual(asker);
});

test("R23 without a daemon, a broken configuration is refused, since its state directory is unknown", async () => {
  using place = new Place({ servers: [], state: 7 });
  expect(await place.bare(["keys", "create", "A", "agent", "user"])).toMatchObject({ code: 0 });
  const stderr: unknown = expect.stringMatching(/^mcpgw: .*gateway\.yaml:3:11: state: /);
  const freeze = ["keys", "freeze", "--config", place.config];
  expect(await place.bare(freeze)).toMatchObject({ code: 2, stdout: "", stderr });
  expect((await place.bare(["keys", "list"])).stderr).not.toContain("frozen");
});
