import { expect, setDefaultTimeout, test } from "bun:test";
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { outsideOf } from "../support/audit.ts";
import { daemonCommand, Place } from "../support/daemon.ts";

// Each command is a process, which is slow on a busy machine.
setDefaultTimeout(30_000);

test("a named pipe in place of one of the gateway's own files does not block a command", async () => {
  using place = new Place({ servers: [], policies: [] });
  await (await place.start()).stop();
  const outside = outsideOf(place);
  const verify = ["audit", "verify"];
  for (const [file, ...commands] of [
    [join(place.state, "signing.key"), daemonCommand, verify],
    [join(place.state, "seal.key"), daemonCommand],
    [join(place.state, "main.run"), daemonCommand],
    [join(outside, "main.head"), daemonCommand, verify],
    [join(outside, "signing.pub"), daemonCommand, verify],
    [join(place.state, "audit", "main.db"), verify],
  ] as const) {
    renameSync(file, `${file}.kept`);
    Bun.spawnSync(["mkfifo", "-m", "600", file]);
    for (const args of commands) {
      const { code, stdout, stderr } = await place.cli(args);
      expect([file, code === 0, stdout + stderr]).toEqual([
        file,
        false,
        expect.stringContaining("is not a regular file"),
      ]);
    }
    renameSync(`${file}.kept`, file);
  }
  const ballast = join(place.state, "ballast");
  rmSync(ballast);
  Bun.spawnSync(["mkfifo", ballast]);
  await (await place.start()).stop();
  expect(await place.cli(verify)).toMatchObject({ code: 0 });
});
