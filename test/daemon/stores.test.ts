import { expect, test } from "bun:test";
import { thisHost } from "../../src/config/paths.ts";
import { silent } from "../../src/core/log.ts";
import { openInstallation } from "../../src/daemon/configuration.ts";
import { openStores, type Stores } from "../../src/daemon/stores.ts";
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

test("R23 A14 mcpgw.db says how far its keys are those of the log: up to its end after a stop, not far behind before", async () => {
  using place = new Place({ servers: [] });
  const [step, records] = [20_000, 50_000];
  const running = await openIn(place);
  for (let done = 0; done < records; done += 1000) {
    const event = { type: "server.stopped", actor: "system", facts: { server: "s", pid: 1 } } as const;
    await Promise.all(Array.from({ length: 1000 }, () => running.audit.recordEvent(event)));
  }
  await running.audit.flush();
  expect(running.lists.settled()).toBeGreaterThan(records - 2 * step);
  expect(running.lists.settled()).toBeLessThanOrEqual(running.audit.health().records - step);
  await running.close();
  const again = await openIn(place);
  expect(again.lists.settled()).toBe(running.audit.health().records + 1);
  await again.close();
}, 20_000);
