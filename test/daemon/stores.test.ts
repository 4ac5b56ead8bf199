import { expect, test } from "bun:test";
import { thisHost } from "../../src/config/paths.ts";
import { silent } from "../../src/core/log.ts";
import { openInstallation } from "../../src/daemon/configuration.ts";
import { openStores, type Stores } from "../../src/daemon/stores.ts";
import { openState } from "../../src/store/open.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { Place } from "../support/daemon.ts";

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

function settledIn(place: Place): number {
  const store = openState(place.state);
  try {
    return store.settled();
  } finally {
    store.close();
  }
}

test("R23 A14 mcpgw.db says how far its keys are those of the log: up to its end after a stop, not far behind before", async () => {
  using place = new Place({ servers: [] });
  const [step, records] = [20_000, 50_000];
  const running = await openIn(place);
  for (let done = 0; done < records; done += 1000) {
    const event = { type: "server.stopped", actor: "system", facts: { server: "s", pid: 1 } } as const;
    await Promise.all(Array.from({ length: 1000 }, () => running.audit.recordEvent(event)));
  }
  await running.audit.flush();
  expect(settledIn(place)).toBeGreaterThan(records - 2 * step);
  expect(settledIn(place)).toBeLessThanOrEqual(running.audit.health().records - step);
  await running.close();
  const log = openReader(place.state, null);
  expect(settledIn(place)).toBe((log.last("main")?.seq ?? 0) + 1);
  log.close();
}, 20_000);

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
