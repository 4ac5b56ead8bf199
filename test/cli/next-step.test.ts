import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { Place } from "../support/daemon.ts";

setDefaultTimeout(30_000);

// What a command that did nothing names as the next step.

test("a wrong line names the help of its own command", async () => {
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

test("a command that does not look for ./gateway.yaml says so where nothing else was named", async () => {
  using place = new Place({ servers: [], policies: [] });
  const passedOver = "this command does not look for gateway.yaml by itself: name it with --config";
  expect(await place.bare(["status"])).toMatchObject({ code: 4, stderr: expect.stringContaining(passedOver) });
  const create = ["keys", "create", "A", "agent", "user", "--state", join(place.dir, "other")];
  expect(await place.bare(create)).toMatchObject({ code: 0, stderr: expect.stringContaining(passedOver) });
  expect((await place.cli(["status"])).stderr).not.toContain(passedOver);
  expect((await place.bare(["config", "reload"])).stderr).not.toContain(passedOver);
});

test("an error shows no control character of a name that it repeats, and what is wrong with what was given exits 2", async () => {
  using place = new Place({ servers: [], policies: [] });
  const named = await place.bare(["config", "check", "--config", "nowhere/\u001b[31mx.yaml"]);
  expect([named.code, named.stderr]).toEqual([2, expect.stringContaining("nowhere/")]);
  expect(named.stderr).not.toContain("\u001b");
  const nowhere = await place.bare(["servers", "disable", "crm"]);
  expect([nowhere.code, nowhere.stderr]).toEqual([2, expect.stringContaining("no configuration in --config")]);
});
