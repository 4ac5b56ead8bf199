import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { daemonCommand, Place } from "../support/daemon.ts";

// The file that `audit.path` names.

// Each command is a process, which is slow on a busy machine.
setDefaultTimeout(30_000);

test("T48 T62 a log named by a symbolic link is not written, and the refusal says which path to use", async () => {
  using place = new Place("");
  const [real, link] = [join(place.dir, "log.db"), join(place.dir, "alias.db")];
  const log = (path: string): void => place.configure({ servers: [], policies: [], audit: { path } });
  symlinkSync(real, link);
  const refused = { code: 1, stderr: expect.stringContaining(`${link} is a symbolic link; name the real`) as unknown };
  for (const there of [false, true]) {
    log(real);
    if (there) await place.newKey("agent");
    log(link);
    expect(await place.cli(daemonCommand)).toMatchObject(refused);
    expect(await place.cli(["keys", "create", "A", "agent", "user"])).toMatchObject(refused);
    expect([existsSync(real), existsSync(`${link}.lock`)]).toEqual([there, false]);
  }
});
