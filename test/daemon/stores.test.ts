import { expect, test } from "bun:test";
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { thisHost } from "../../src/config/paths.ts";
import { silent } from "../../src/core/log.ts";
import { openInstallation } from "../../src/daemon/installation.ts";
import { openStores, type Stores } from "../../src/daemon/stores.ts";
import { openState } from "../../src/store/open.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { Place } from "../support/daemon.ts";
import { note } from "../support/audit.ts";

function openIn(place: Place): Promise<Stores> {
  const host = { ...thisHost(), env: place.env() };
  const { loaded, paths } = openInstallation({ config: place.config, state: place.state, local: false }, host);
  return openStores({
    paths,
    audit: loaded.config.audit,
    self: { version: "0" },
    log: silent,
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

test("R23 A14 mcpgw.db says how far its keys are those of the log: up to its end after a stop, not far behind before", async () => {
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
}, 20_000);

test("R23 an older copy of the log takes back how far the keys of mcpgw.db are those of the log", async () => {
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

test("a daemon waits for a command that works on its state directory just then", async () => {
  using place = new Place({ servers: [] });
  using other = new Place({ servers: [] });
  const command = await openIn(place);
  const starting = openIn(place);
  starting.catch(() => {});
  // It takes longer than the start takes to find the log in use.
  await (await openIn(other)).close();
  await command.close();
  await (await starting).close();
});
