import { expect, setDefaultTimeout, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import type { AuditEvent } from "../../src/core/event.ts";
import { fake, Place, strongKey } from "../support/daemon.ts";
import { bootIn, installationOf } from "../support/in-process.ts";
import { reasonOf } from "../support/failure.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(30_000);

test("a configuration is recorded before its servers start; if that fails, no server starts and nothing stays open", async () => {
  using place = new Place({ servers: [fake("fake")], auth: { type: "none", roles: ["user"] } });
  const unrecorded = bootIn(place, async (_gateway, { audit }) => {
    audit.recordEvent = () => Promise.reject(new Failure("audit-unavailable", "No log."));
  });
  expect(await reasonOf(unrecorded)).toMatchObject({ code: "audit-unavailable" });
  expect(place.heard("fake")).toEqual([]);

  // The chain is free again.
  const noted: AuditEvent["type"][] = [];
  let heard = -1;
  await using _booted = await bootIn(place, async (_gateway, { audit }) => {
    const note = audit.recordEvent.bind(audit);
    audit.recordEvent = async (event) => {
      if (event.type === "config.loaded") heard = place.heard("fake").length;
      noted.push(event.type);
      await note(event);
    };
  });
  await until(() => place.heard("fake").length > 0, "the server to start");
  expect([noted[0], heard]).toEqual(["config.loaded", 0]);
  expect(noted.filter((type) => type === "config.loaded")).toHaveLength(1);
});

test("admission at startup already knows the configured keys", async () => {
  const keys = [{ id: "own", key: strongKey(), consumerId: "own", roles: ["user"] }];
  using place = new Place({ servers: [], auth: { keys } });
  let known: unknown;
  await using _booted = await bootIn(place, async (_gateway, { keyring }) => void (known = keyring.list()));
  expect(known).toMatchObject([{ id: "own", state: "active" }]);
});

test("D5: a reload that cannot be recorded changes nothing", async () => {
  const auth = { keys: [{ id: "late", key: strongKey(), consumerId: "late", roles: ["user"] }] };
  using place = new Place({ servers: [] });
  await using booted = await bootIn(place);
  const { engine } = booted;
  const before = engine.current();
  place.configure({ servers: [], auth });
  const { loaded } = installationOf(place);
  engine.stores.audit.recordEvent = () => Promise.reject(new Failure("audit-unavailable", "No log."));
  expect(await reasonOf(engine.replace(loaded, "system"))).toMatchObject({ code: "audit-unavailable" });
  expect([engine.current() === before, engine.stores.keyring.list()]).toEqual([true, []]);
});

test("D5: a reload keeps the validator, so no schema is checked or compiled again", async () => {
  using place = new Place({ servers: [], auth: { type: "none", roles: ["user"] } });
  await using booted = await bootIn(place);
  const { engine } = booted;
  const before = engine.current();
  await engine.replace(engine.loaded(), "system");
  expect(engine.current()).not.toBe(before);
  expect(engine.current().validator).toBe(before.validator);
});

test("R9: the log is closed cleanly even if a server cannot be stopped", async () => {
  using place = new Place({ servers: [] });
  const { engine, close } = await bootIn(place);
  engine.upstreams().close = () => Promise.reject(new Error("the stop failed"));
  expect(await reasonOf(close())).toMatchObject({ message: "the stop failed" });
  // The chain is free again.
  await using again = await bootIn(place);
  expect(again.engine.stores.audit.health().ok).toBe(true);
});

test("R9: even the first verification has a checkpoint to check the log against", async () => {
  using place = new Place({ servers: [] });
  await using booted = await bootIn(place);
  expect(booted.engine.stores.audit.health().checkpoint).toMatchObject({ size: expect.any(Number) });
});

test("R86: every start records which servers are on and off, however many there are", async () => {
  const off = Array.from({ length: 61 }, (_, at) => ({ id: `server-number-${at}`, command: "none", enabled: false }));
  using place = new Place({ servers: [fake("fake"), ...off], auth: { type: "none", roles: ["user"] } });
  await (await bootIn(place)).close();
  const facts = (await place.records()).find(({ type }) => type === "config.loaded")?.facts;
  expect(facts).toMatchObject({
    "server.fake": "on",
    ...Object.fromEntries(off.map(({ id }) => [`server.${id}`, "off"])),
  });
  expect((await place.cli(["audit", "verify"])).code).not.toBe(1);
});
