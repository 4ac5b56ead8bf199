import { expect, test } from "bun:test";
import { thisHost } from "../../src/config/paths.ts";
import { Failure } from "../../src/core/failure.ts";
import { silent } from "../../src/core/log.ts";
import type { AuditEvent } from "../../src/core/event.ts";
import { boot, type BootOptions } from "../../src/daemon/boot.ts";
import { openInstallation } from "../../src/daemon/installation.ts";
import { fake, Place, self, strongKey } from "../support/daemon.ts";
import { until } from "../support/until.ts";

/** What boots in a place; `admit` sees the stores before anything is started. */
function bootsIn(place: Place, admit: BootOptions["admit"]): BootOptions {
  const host = { ...thisHost(), env: place.env() };
  const installation = openInstallation({ config: place.config, state: place.state, local: false }, host);
  return { installation, self, log: silent, chains: ["main"], ...(admit && { admit }) };
}

test("a configuration is on record before a server is started by it; one that cannot be recorded starts none and leaves nothing open", async () => {
  using place = new Place({ servers: [fake("fake")], auth: { type: "none", roles: ["user"] } });
  const unrecorded = bootsIn(place, async (_gateway, { audit }) => {
    audit.recordEvent = () => Promise.reject(new Failure("audit-unavailable", "No log."));
  });
  expect(await boot(unrecorded).catch((error: Failure) => error.code)).toBe("audit-unavailable");
  expect(place.heard("fake")).toEqual([]);

  // The chain is free again.
  const noted: AuditEvent["type"][] = [];
  let heard = -1;
  const booted = await boot(
    bootsIn(place, async (_gateway, { audit }) => {
      const note = audit.recordEvent.bind(audit);
      audit.recordEvent = async (event) => {
        if (event.type === "config.loaded") heard = place.heard("fake").length;
        noted.push(event.type);
        await note(event);
      };
    }),
  );
  try {
    await until(() => place.heard("fake").length > 0, "the server to start");
    expect([noted[0], heard]).toEqual(["config.loaded", 0]);
    expect(noted.filter((type) => type === "config.loaded")).toHaveLength(1);
  } finally {
    await booted.close();
  }
}, 20_000);

test("who is to be served is decided by the keys of the configuration too", async () => {
  const keys = [{ id: "own", key: strongKey(), consumerId: "own", roles: ["user"] }];
  using place = new Place({ servers: [], auth: { keys } });
  let known: unknown;
  const { close } = await boot(bootsIn(place, async (_gateway, { keyring }) => void (known = keyring.list())));
  expect(known).toMatchObject([{ id: "own", state: "active" }]);
  await close();
});

test("D5: a reload that cannot be recorded puts nothing into force", async () => {
  const auth = { keys: [{ id: "late", key: strongKey(), consumerId: "late", roles: ["user"] }] };
  using place = new Place({ servers: [] });
  const { engine, close } = await boot(bootsIn(place, undefined));
  const before = engine.current();
  place.configure({ servers: [], auth });
  const { loaded } = bootsIn(place, undefined).installation;
  engine.stores.audit.recordEvent = () => Promise.reject(new Failure("audit-unavailable", "No log."));
  expect(await engine.replace(loaded, "system").catch((error: Failure) => error.code)).toBe("audit-unavailable");
  expect([engine.current() === before, engine.stores.keyring.list()]).toEqual([true, []]);
  await close();
});

test("R9: even the first verification has a checkpoint to prove the log by", async () => {
  using place = new Place({ servers: [] });
  const { engine, close } = await boot(bootsIn(place, undefined));
  expect(engine.stores.audit.health().checkpoint).toMatchObject({ size: expect.any(Number) });
  await close();
});

test("R86: every start records which servers are on and which are off, however many they are", async () => {
  const off = Array.from({ length: 61 }, (_, at) => ({ id: `server-number-${at}`, command: "none", enabled: false }));
  using place = new Place({ servers: [fake("fake"), ...off], auth: { type: "none", roles: ["user"] } });
  await (await boot(bootsIn(place, undefined))).close();
  const facts = (await place.records()).find(({ type }) => type === "config.loaded")?.facts;
  expect(facts).toMatchObject({
    "server.fake": "on",
    ...Object.fromEntries(off.map(({ id }) => [`server.${id}`, "off"])),
  });
  expect((await place.cli(["audit", "verify"])).code).not.toBe(1);
}, 20_000);
