import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openUsageStore } from "../../src/store/sqlite/usage.ts";
import { nothing } from "../../src/usage/counters.ts";
import { daemonCommand, everything, fake, Place } from "../support/daemon.ts";

// Each command is a process, which is slow on a busy machine.
setDefaultTimeout(30_000);

test("R26 usage by tag is the same with and without a daemon, and needs a usable configuration", async () => {
  const own = fake("own", [], { tags: ["eu"], start: "on-demand", env: { SECRET: "${SECRET}" } });
  const both = fake("both", [], { tags: ["eu", "sales", "eu"], start: "on-demand" });
  using place = new Place({ servers: [own, both, fake("plain", [], { start: "on-demand" })] });
  await place.newKey("agent");
  const store = openUsageStore(join(place.state, "mcpgw.db"));
  const row = { ...nothing, consumer: "a", tool: "t", hour: 1 };
  const servers = ["own", "both", "plain", "removed", "mcpgw", ""];
  const rows = servers.map((server, at) => ({ ...row, server, calls: 10 ** at }));
  store.apply("gone", 0, 1, rows);
  store[Symbol.dispose]();
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
    const said = expect.stringContaining("the rows add up to more than the total");
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
  expect(unnamed).toMatchObject({
    code: 2,
    stdout: "",
    stderr: expect.stringContaining("name its file with --config"),
  });
});

test("R26 all calls are counted if the gateway continues from an older copy of its log", async () => {
  using place = new Place({ servers: [fake("fake")], policies: [everything()] });
  const key = await place.key("agent");
  const counted = async (calls: number): Promise<void> => {
    expect(await place.json("usage")).toMatchObject({ rows: [{ name: "agent", calls }] });
  };
  const callTimes = async (count: number, sum: number): Promise<void> => {
    await using daemon = await place.start();
    for (let i = 0; i < count; i += 1) await daemon.call("fake__echo", { i }, key);
    await counted(sum);
  };
  await callTimes(1, 1);
  const [log, copy] = [join(place.state, "audit"), join(place.dir, "copy")];
  cpSync(log, copy, { recursive: true });
  await callTimes(20, 21);
  rmSync(log, { recursive: true });
  cpSync(copy, log, { recursive: true });
  // A refused start changes nothing, because the newest copy may come back.
  expect(await place.cli(daemonCommand)).toMatchObject({ code: 1 });
  await counted(21);
  rmSync(place.heads, { recursive: true });
  await callTimes(3, 24);
  await counted(24);
});

test("R26 usage says that metering is off, with and without a daemon", async () => {
  using place = new Place({ servers: [], metering: { enabled: false } });
  await place.newKey("agent");
  const says = { code: 0, stderr: expect.stringContaining("metering is off") };
  expect(await place.cli(["usage"])).toMatchObject(says);
  await using daemon = await place.start();
  expect(await place.cli(["usage"])).toMatchObject(says);
  expect(await place.json("usage")).toEqual({ metered: false, rows: [] });
  await daemon.stop();
  using db = new Database(join(place.state, "mcpgw.db"), { readonly: true });
  expect(db.query("SELECT count(*) AS chains FROM usage_mark").get()).toEqual({ chains: 0 });
});
