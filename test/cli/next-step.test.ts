import { expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Place } from "../support/daemon.ts";
import { mcpgw } from "../support/mcpgw.ts";
import { ended } from "../support/processes.ts";

setDefaultTimeout(30_000);

// The next step that a failed command suggests.

test("an invalid command line names the help of its command", async () => {
  using place = new Place({ servers: [], policies: [] });
  for (const [words, help] of [
    ["keys create onlyname", "mcpgw keys create --help"],
    ["--json audit log --limit many", "mcpgw audit log --help"],
    ["keys lst", "mcpgw keys --help"],
    ["statsu", "mcpgw --help"],
  ] as const) {
    const { code, stderr } = await place.bare(words.split(" "));
    expect([words, code, stderr]).toEqual([words, 2, expect.stringContaining(`see \`${help}\``)]);
  }
});

test("a command that does not read ./gateway.yaml says so if no other configuration was named", async () => {
  using place = new Place({ servers: [], policies: [] });
  const ignoredConfigNote =
    "does not read the gateway.yaml in this directory: if the daemon uses it, name it with --config";
  expect(await place.bare(["status"])).toMatchObject({ code: 4, stderr: expect.stringContaining(ignoredConfigNote) });
  const create = ["keys", "create", "A", "agent", "user", "--state", join(place.dir, "other")];
  expect(await place.bare(create)).toMatchObject({ code: 0, stderr: expect.stringContaining(ignoredConfigNote) });
  expect((await place.cli(["status"])).stderr).not.toContain(ignoredConfigNote);
  const named = await place.bare(["status", "--state", join(place.dir, "other")]);
  expect(named).toMatchObject({ code: 4, stderr: expect.not.stringContaining(ignoredConfigNote) });
  expect((await place.bare(["config", "reload"])).stderr).not.toContain(ignoredConfigNote);
});

test("an error shows no control characters of a name, and invalid input exits 2", async () => {
  using place = new Place({ servers: [], policies: [] });
  const named = await place.bare(["config", "check", "--config", "nowhere/\u001b[31mx.yaml"]);
  expect([named.code, named.stderr]).toEqual([2, expect.stringContaining("nowhere/")]);
  expect(named.stderr).not.toContain("\u001b");
  rmSync(place.config);
  const none = await place.bare(["config", "check"]);
  expect([none.code, none.stdout, none.stderr]).toEqual([
    2,
    "",
    expect.stringContaining("no configuration found in --config"),
  ]);
  const nowhere = await place.bare(["servers", "disable", "crm"]);
  expect([nowhere.code, nowhere.stderr]).toEqual([2, expect.stringContaining("no configuration found in --config")]);
});

test("T40: if a named file does not give a socket, the default socket is used only if its daemon runs with that file", async () => {
  using place = new Place({ servers: [], policies: [] });
  await using _daemon = await place.start();
  const env = place.env({ RUNTIME_DIRECTORY: place.state });
  const status = (file: string) =>
    ended(Bun.spawn([...mcpgw, "status", "--config", file], { env, stdout: "pipe", stderr: "pipe" }));
  place.configure("control: [\n");
  const warning = expect.stringContaining(`trying ${join(place.state, "control.sock")}`);
  expect(await status(place.config)).toMatchObject({ code: 0, stderr: warning });
  const other = place.path("other.yaml");
  copyFileSync(place.config, other);
  expect(await status(other)).toMatchObject({ code: 2, stdout: "" });
  const silent = place.path("silent");
  mkdirSync(silent);
  using _listener = Bun.listen({
    unix: join(silent, "control.sock"),
    socket: { open: (one) => void one.end(), data() {} },
  });
  env["RUNTIME_DIRECTORY"] = silent;
  expect(await status(place.config)).toMatchObject({ code: 2, stdout: "" });
});
