import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { thisHost } from "../../src/config/paths.ts";
import { silent } from "../../src/core/log.ts";
import { boot } from "../../src/daemon/boot.ts";
import { openInstallation } from "../../src/daemon/installation.ts";
import { notReady, readinessOf } from "../../src/daemon/readiness.ts";
import { note } from "../support/audit.ts";
import { fake, Place, self } from "../support/daemon.ts";

function bootIn(place: Place) {
  const host = { ...thisHost(), env: place.env() };
  const installation = openInstallation({ config: place.config, state: place.state, local: false }, host);
  return boot({ installation, self, log: silent, chains: ["main"] });
}

test("R114 R115 /ready says what the gateway waits for, whether all are frozen, and that it is ready only between start and stop", async () => {
  using place = new Place(null);
  const gate = place.path("gate");
  const { command, args, ...rest } = fake("fake");
  const late = ["-c", 'until [ -e "$0" ]; do sleep 0.02; done; exec "$@"', gate, command, ...args];
  const servers = [{ ...rest, command: "sh", args: late }];
  place.configure({ servers, auth: { type: "none", roles: ["user", "reader"] } });
  const { engine, close } = await bootIn(place);
  const waits = { state: "starting", waitsFor: ["fake"] };
  expect(readinessOf(engine, "starting")).toMatchObject({ ready: false, detail: waits });
  // Whatever starts then, as after a reload, is not what it waits for.
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
  await close();
}, 20_000);

test("R115 P5 while the log takes no records /ready says no, and why", async () => {
  using place = new Place({ servers: [] });
  const { engine, close } = await bootIn(place);
  expect(readinessOf(engine, "ready")).toMatchObject({ ready: true, detail: { auth: "api-key", audit: { ok: true } } });
  using log = new Database(join(place.state, "audit/main.db"));
  log.run("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'disk full'); END");
  await engine.stores.audit.recordEvent(note).catch(() => {});
  const reason: unknown = expect.stringContaining("disk full");
  expect(readinessOf(engine, "ready")).toMatchObject({ ready: false, detail: { audit: { ok: false, reason } } });
  log.run("DROP TRIGGER full");
  await close();
});
