import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { openUsageStore } from "../../src/store/sqlite/usage.ts";
import { fake, Place } from "../support/daemon.ts";

// Each command is a process; on a busy machine that takes its time.
setDefaultTimeout(20_000);

test("R26 R44 usage by tag is the same with a daemon and without, and needs what tells the tags", async () => {
  const own = fake("own", [], { tags: ["eu"], start: "on-demand", env: { SECRET: "${SECRET}" } });
  const both = fake("both", [], { tags: ["eu", "sales", "eu"], start: "on-demand" });
  using place = new Place({ servers: [own, both, fake("plain", [], { start: "on-demand" })] });
  await place.newKey("agent");
  const store = openUsageStore(join(place.state, "mcpgw.db"));
  const row = { consumer: "a", tool: "t", hour: 1, errors: 0, denied: 0, latencyUs: 0, bytesIn: 0, bytesOut: 0 };
  const servers = ["own", "both", "plain", "removed", "mcpgw", ""];
  const rows = servers.map((server, at) => ({ ...row, server, calls: 10 ** at }));
  store.apply("gone", 0, 1, rows);
  store.close();
  const usage = {
    metered: true,
    overlap: true,
    rows: [
      expect.objectContaining({ name: "(none)", calls: 100_000 }),
      expect.objectContaining({ name: "(untagged)", calls: 10_100 }),
      expect.objectContaining({ name: "(not configured)", calls: 1_000 }),
      expect.objectContaining({ name: "eu", calls: 11 }),
      expect.objectContaining({ name: "sales", calls: 10 }),
    ],
  };
  expect(await place.json("usage", "--by", "tag")).toEqual(usage);
  for (const args of [[], ["--csv"]]) {
    const said = expect.stringContaining("the rows add up to more than was called");
    expect(await place.cli(["usage", "--by", "tag", ...args])).toMatchObject({ code: 0, stderr: said });
  }
  {
    await using daemon = await place.start({ env: { SECRET: "s" } });
    expect(await place.json("usage", "--by", "tag")).toEqual(usage);
    expect(daemon.exited).toBe(false);
  }
  place.configure({ servers: [{ id: "own", tags: 7 }] });
  const wrong = await place.cli(["usage", "--by", "tag"]);
  expect([wrong.code, wrong.stdout, wrong.stderr]).toEqual([2, "", expect.stringContaining("servers[0].tags")]);
  expect((await place.cli(["usage", "--by", "server"])).code).toBe(0);
  const unnamed = await place.bare(["usage", "--by", "tag", "--state", place.state]);
  expect(unnamed).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("name it with --config") });
});
