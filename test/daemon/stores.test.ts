import { expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Logger, silent } from "../../src/core/log.ts";
import { openStores, type Stores } from "../../src/daemon/stores.ts";
import { openState } from "../../src/store/open.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import type { Act } from "../../src/core/event.ts";
import { Place } from "../support/daemon.ts";
import { fullDisk } from "../support/full-disk.ts";
import { installationOf } from "../support/in-process.ts";
import { keyRequest } from "../support/key-store.ts";
import { note } from "../support/audit.ts";
import { fill, canMount, mountTmpfs } from "../support/tmpfs.ts";

setDefaultTimeout(30_000);

function openIn(place: Place, log: Logger = silent): Promise<Stores> {
  const { loaded, paths } = installationOf(place);
  return openStores({
    paths,
    audit: loaded.config.audit,
    self: { version: "0" },
    log,
    chains: ["main"],
    run: "run",
    secrets: () => [],
    fatal: (reason) => {
      throw new Error(reason);
    },
  });
}

function keysAsOfIn(place: Place): number {
  using store = openState(place.state);
  return store.keysAsOf();
}

test("R23 A14 mcpgw.db notes how far its keys follow the log: to the end after a stop, not far behind while running", async () => {
  using place = new Place({ servers: [] });
  const [step, records] = [20_000, 50_000];
  const running = await openIn(place);
  for (let done = 0; done < records; done += 1000) {
    await Promise.all(Array.from({ length: 1000 }, () => running.audit.recordEvent(note)));
  }
  await running.audit.flush();
  expect(keysAsOfIn(place)).toBeGreaterThan(records - 2 * step);
  expect(keysAsOfIn(place)).toBeLessThanOrEqual(running.audit.health().records - step);
  await running.close();
  using log = openReader({ state: place.state, main: null });
  expect(keysAsOfIn(place)).toBe((log.last("main")?.seq ?? 0) + 1);
});

test("R23 an older copy of the log moves back how far the keys of mcpgw.db follow it", async () => {
  using place = new Place({ servers: [] });
  const log = join(place.state, "audit");
  await (await openIn(place)).close();
  cpSync(log, place.path("copy"), { recursive: true });
  const known = keysAsOfIn(place);
  const later = await openIn(place);
  await later.audit.recordEvent(note);
  await later.close();
  for (const path of [log, place.heads]) rmSync(path, { recursive: true });
  cpSync(place.path("copy"), log, { recursive: true });
  const resumed = await openIn(place);
  expect(keysAsOfIn(place)).toBe(known);
  await resumed.close();
});

test("a daemon waits for a command that is using its state directory", async () => {
  using place = new Place({ servers: [] });
  using other = new Place({ servers: [] });
  const command = await openIn(place);
  const starting = openIn(place);
  starting.catch(() => {});
  // This takes longer than the start needs to find the log in use.
  await (await openIn(other)).close();
  await command.close();
  await (await starting).close();
});

/** Returns a log that collects its errors. */
function errorLog() {
  const errors: string[] = [];
  return { errors, log: { ...silent, error: (message: string) => void errors.push(message) } };
}

const revoked = (key: string): Act => ({ type: "key.revoked", actor: "system", facts: { key, ...asker } });
const asker = { uid: 0, gid: 0, pid: 1 };

test("R23 A14 a revocation that was never stored is restored from the log by the next start", async () => {
  using place = new Place({ servers: [] });
  const first = await openIn(place);
  const { id } = first.keyring.create(keyRequest());
  await first.close();
  const { errors, log } = errorLog();
  const second = await openIn(place, log);
  using full = fullDisk(join(place.state, "mcpgw.db"), "UPDATE ON api_key");
  second.keyring.revoke(id);
  expect(await second.audit.recordDone(revoked(id))).toBe(true);
  await second.close();
  expect(errors).toEqual([]);
  full.free();
  const third = await openIn(place);
  expect(third.keyring.list()).toMatchObject([{ id, state: "revoked" }]);
  await third.close();
});

test.each([
  ["is stored but not recorded", false, ["missing from the log"]],
  [
    "is neither stored nor recorded",
    true,
    ["missing from the log", "1 revocations took effect but could not be stored"],
  ],
])("R23 a shutdown reports a revocation that %s", async (_what, unstored, said) => {
  using place = new Place({ servers: [] });
  const { errors, log } = errorLog();
  const stores = await openIn(place, log);
  const { id } = stores.keyring.create(keyRequest());
  using _log = fullDisk(join(place.state, "audit/main.db"), "INSERT ON audit");
  using _keys = unstored ? fullDisk(join(place.state, "mcpgw.db"), "UPDATE ON api_key") : null;
  stores.keyring.revoke(id);
  expect(await stores.audit.recordDone(revoked(id))).toBe(false);
  errors.length = 0;
  await stores.close();
  expect(errors).toEqual(said.map((each) => expect.stringContaining(each) as string));
});

test.skipIf(!canMount())(
  "T04 R23 acts that took effect on a full disk are recorded at shutdown in the reserved space (needs a tmpfs)",
  async () => {
    using disk = mountTmpfs("8m");
    const state = join(disk?.dir ?? "", "state");
    using place = new Place({ servers: [] }, { state });
    const stores = await openIn(place);
    fill(join(disk?.dir ?? "", "filler"));
    // The log first fills the rest of its last block.
    let acts = 0;
    while (await stores.audit.recordDone(revoked(`key-${acts++}`)));
    await stores.close();
    using log = openReader({ state, main: null });
    expect(log.page("main", 1, 1000).filter(({ rec }) => rec.includes("key.revoked"))).toHaveLength(acts);
  },
);
