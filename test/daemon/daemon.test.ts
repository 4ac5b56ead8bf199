import { expect, test } from "bun:test";
import { thisHost } from "../../src/config/paths.ts";
import { silent } from "../../src/core/log.ts";
import { boot } from "../../src/daemon/boot.ts";
import { openInstallation } from "../../src/daemon/installation.ts";
import { Daemon } from "../../src/daemon/daemon.ts";
import { fake, Place, self } from "../support/daemon.ts";

test("R18: a reload that is under way when the daemon is stopped starts nothing that the stop does not end", async () => {
  const auth = { type: "none", roles: ["user"] };
  using place = new Place({ servers: [], auth, listen: { http: { host: "127.0.0.1", port: 0 } } });
  const host = { ...thisHost(), env: place.env() };
  const options = { config: place.config, state: place.state, listen: "127.0.0.1:0", local: false };
  const installation = openInstallation(options, host);
  const booted = await boot({ installation, self, log: silent, chains: ["main"] });
  const daemon = await Daemon.start({ ...booted, options, self, log: { ...silent, configure() {}, flush() {} } });
  const { audit } = booted.engine.stores;
  const note = audit.recordEvent.bind(audit);
  const recorded = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  audit.recordEvent = async (event) => {
    await note(event);
    if (event.type !== "config.loaded") return;
    recorded.resolve();
    await goOn.promise;
  };
  place.configure({ servers: [fake("late")], auth });
  const reloaded = daemon.reload("test");
  await recorded.promise;
  const stopped = daemon.stop(10_000).then(() => booted.close());
  // Whatever the stop does not wait for is done by then.
  for (let turn = 0; turn < 500; turn++) await new Promise(setImmediate);
  goOn.resolve();
  await Promise.all([stopped, reloaded]);
  expect(await daemon.reload("test").catch(String)).toContain("stopping");
  expect(booted.engine.upstreams().status()).toMatchObject([{ id: "late", state: "stopping", pids: [] }]);
}, 20_000);
