import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { silent } from "../../src/core/log.ts";
import { StoreFailed } from "../../src/core/store.ts";
import { rebuildKeys } from "../../src/daemon/rebuild.ts";
import { openState } from "../../src/store/open.ts";
import { faultyStore, note, openBroker, tempState } from "../support/audit.ts";
import { reasonOf } from "../support/failure.ts";
import { Place, strongKey } from "../support/daemon.ts";
import { fullDisk } from "../support/full-disk.ts";

setDefaultTimeout(30_000);

const auth = { keys: [{ id: "yaml", key: strongKey(), consumerId: "yaml", roles: ["user"] }] };

/** Reopens the store, and returns the records of what it lacked. */
async function rebuilt(place: Place): Promise<unknown> {
  expect(await place.cli(["keys", "list"])).toMatchObject({ code: 0 });
  return (await place.records()).flatMap(({ type, facts }) => (type === "key.rebuilt" ? [facts] : []));
}

test("R23: after a kill, only what the store really lacks is recorded", async () => {
  using place = new Place({ servers: [], auth });
  const { id } = await place.newKey("agent");
  for (const act of [["revoke", id], ["revoke", "yaml"], ["freeze"]]) {
    expect(await place.cli(["keys", ...act])).toMatchObject({ code: 0 });
  }
  using db = new Database(join(place.state, "mcpgw.db"));
  // Only a clean shutdown sets how far the store has followed the log.
  const forget = "UPDATE flag SET value = 1 WHERE name = 'knows-log'";
  db.run(forget);
  expect(await rebuilt(place)).toEqual([]);
  // Only what the store lacks is recorded, not everything in the log.
  db.run("UPDATE flag SET value = 0 WHERE name = 'frozen'");
  db.run(forget);
  expect(await rebuilt(place)).toEqual([{ revoked: 0, frozen: true, lost: 0 }]);
});

test("R23: a deleted store is rebuilt from the log", async () => {
  using place = new Place({ servers: [], auth });
  await place.newKey("agent");
  expect(await place.cli(["keys", "revoke", "yaml"])).toMatchObject({ code: 0 });
  rmSync(join(place.state, "mcpgw.db"));
  expect(await rebuilt(place)).toMatchObject([{ revoked: 1, frozen: false, lost: 1 }]);
  // A configured key stays revoked even under another id.
  place.configure({ servers: [], auth: { keys: auth.keys.map((key) => ({ ...key, id: "renamed" })) } });
  expect(await place.json("keys", "list")).toMatchObject({ keys: [{ id: "renamed", state: "revoked" }] });
});

test.each([
  ["freeze", [{ revoked: 0, frozen: true, lost: 0 }]],
  ["create", [{ revoked: 0, frozen: false, lost: 1 }]],
  ["revoke", [{ revoked: 1, frozen: false, lost: 0 }]],
  // The first successor is lost too, but it was revoked, so it does not count.
  ["rotate rotate", [{ revoked: 2, frozen: false, lost: 1 }]],
  ["freeze unfreeze", []],
])("R23: what an older copy of the store lacks is recorded (%s)", async (acts, facts) => {
  using place = new Place({ servers: [], auth });
  await place.newKey("agent");
  const [file, copy] = [join(place.state, "mcpgw.db"), join(place.dir, "copy.db")];
  copyFileSync(file, copy);
  for (const act of acts.split(" ")) {
    const { keys } = (await place.json("keys", "list")) as { keys: { id: string; state: string; source: string }[] };
    const { id = "" } = keys.find(({ state, source }) => state === "active" && source === "store") ?? {};
    const args = act === "create" ? ["B", "agent", "user"] : act.endsWith("freeze") ? [] : [id];
    expect(await place.cli(["keys", act, ...args])).toMatchObject({ code: 0 });
  }
  copyFileSync(copy, file);
  expect(await rebuilt(place)).toMatchObject(facts);
});

test("R23 T04: a missing change is stored only after it is recorded, and the log position moves only after it is stored", async () => {
  using at = tempState();
  const faulty = faultyStore(at);
  await using opened = await openBroker(at, {}, { store: faulty.store });
  const { broker: audit } = opened;
  const facts = { uid: 0, gid: 0, pid: 1, key: "lost" };
  await audit.recordEvent({ type: "key.revoked", actor: "local:0", facts });
  await audit.flush();
  using store = openState(at.state);
  const home = { state: at.state, main: null };
  const rebuild = () => rebuildKeys({ store, home, audit, log: silent });
  faulty.full = new StoreFailed("disk full");
  expect(await reasonOf(rebuild())).toMatchObject({ code: "audit-unavailable" });
  expect(store.keysAsOf()).toBe(0);
  faulty.full = null;
  using full = fullDisk(join(at.state, "mcpgw.db"), "INSERT ON flag");
  await rebuild();
  expect([store.tombstones(), store.keysAsOf()]).toEqual([["lost"], 0]);
  full.free();
  await rebuild();
  expect(store.keysAsOf()).toBeGreaterThan(1);
});

test("R23: no act is skipped in a log of many pages", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  const { broker: audit } = opened;
  using store = openState(at.state);
  // Puts acts on both sides of a page boundary.
  await Promise.all(Array.from({ length: 1998 }, () => audit.recordEvent(note)));
  const keys = ["a", "b", "c", "d"];
  for (const key of keys)
    await audit.recordEvent({ type: "key.revoked", actor: "local:0", facts: { uid: 0, gid: 0, pid: 1, key } });
  await audit.flush();
  await rebuildKeys({ store, home: { state: at.state, main: null }, audit, log: silent });
  expect(store.tombstones()).toEqual(keys);
});
