import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fake, Place, program } from "../support/daemon.ts";

// What commands do without a daemon, above all what they refuse to say.

// Each command is a process; on a busy machine that takes its time.
setDefaultTimeout(20_000);

const config = { servers: [], policies: [] };
const secretive = { ...config, servers: [fake("fake", [], { env: { TOKEN: "${env:NOT_SET_HERE}" } })] };

test("verify without anything to look at is a refusal, never INTACT, and makes no signing key", async () => {
  using place = new Place(config);
  expect(await place.cli(["audit", "verify"])).toMatchObject({ code: 2, stdout: "" });
  await place.newKey("agent");
  expect((await place.cli(["audit", "verify"])).code).not.toBe(1);
  const key = join(place.state, "signing.key");
  rmSync(key);
  const ran = await place.cli(["audit", "verify"]);
  expect(ran).toMatchObject({ code: 2, stdout: "" });
  expect(ran.stderr).toContain("signing.key is missing");
  expect(existsSync(key)).toBe(false);
});

test("a configuration that cannot be used is said, and the chain in the state directory is still read", async () => {
  using place = new Place(config);
  const { id } = await place.newKey("agent");
  place.configure(secretive);
  const ran = await place.cli(["audit", "log", "--type", "key.*"]);
  expect(ran).toMatchObject({ code: 0 });
  expect(ran.stdout).toContain("key.created");
  expect(ran.stderr).toContain("NOT_SET_HERE");
  expect((await place.cli(["keys", "revoke", id])).code).toBe(0);
});

test("where audit.path cannot be read, nothing is verified, read or written at the default place", async () => {
  using place = new Place(config);
  const audit = { path: join(place.dir, "elsewhere.db") };
  place.configure({ ...config, audit });
  await place.newKey("agent");
  place.configure({ ...secretive, audit });
  for (const args of [
    ["audit", "verify"],
    ["audit", "log"],
    ["keys", "create", "A", "agent", "user"],
  ]) {
    const ran = await place.cli(args);
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toContain("NOT_SET_HERE");
  }
  expect(existsSync(join(place.state, "audit/main.db"))).toBe(false);
});

test("without a daemon ./gateway.yaml is not read", async () => {
  using place = new Place({ ...config, audit: { path: "elsewhere.db" } });
  // In place.dir, where gateway.yaml lies; only --state is given.
  const child = Bun.spawn([...program, "keys", "create", "A", "agent", "user", "--state", place.state], {
    cwd: place.dir,
    env: place.env(),
    stdout: "ignore",
    stderr: "pipe",
  });
  expect([await child.exited, await child.stderr.text()]).toEqual([0, expect.any(String)]);
  expect([existsSync(join(place.state, "audit/main.db")), existsSync(join(place.dir, "elsewhere.db"))]).toEqual([
    true,
    false,
  ]);
});
