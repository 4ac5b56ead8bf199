import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { auditHandlers } from "../../src/daemon/handlers/audit.ts";
import { openChain } from "../../src/store/sqlite/chain.ts";
import { rowsOf } from "../suites/store.ts";
import { archiveAt } from "../support/archive.ts";
import { recordCall, tempState } from "../support/audit.ts";
import { contextOf } from "../support/context.ts";
import { everything, Place } from "../support/daemon.ts";
import { reasonOf } from "../support/failure.ts";
import { StdioClient } from "../support/stdio-client.ts";

// Each command is a process, which is slow on a busy machine.
setDefaultTimeout(30_000);

test("R8 R25 audit log and audit stats show readable chains and name an unreadable one, with and without a daemon", async () => {
  using place = new Place({
    servers: [],
    policies: [everything()],
    auth: { stdio: { consumerId: "local", roles: ["user"] } },
  });
  await place.newKey("agent");
  {
    await using client = new StdioClient(place);
    await client.open();
  }
  for (const end of ["", "-wal", "-shm"]) rmSync(join(place.state, `audit/serve-1.db${end}`), { force: true });
  writeFileSync(join(place.state, "audit/serve-1.db"), "rubbish");
  const stderr: unknown = expect.stringContaining("warning: chain serve-1 cannot be read completely");
  const partly = async () => {
    const log = await place.cli(["audit", "log", "--json"]);
    expect(log).toMatchObject({ code: 1, stderr });
    expect(JSON.parse(log.stdout)).toMatchObject({ unread: ["serve-1"] });
    expect(log.stdout).toContain("key.created");
    const stats = await place.cli(["audit", "stats"]);
    expect(stats).toMatchObject({ code: 1, stderr });
    expect(stats.stdout).toMatch(/^key\.created +1$/m);
    const why = `${join(place.state, "audit/serve-1.db")}: file is not a database (SQLITE_NOTADB)`;
    const unreadable = `chain serve-1 cannot be read (${why}); if this persists, run \`mcpgw audit verify\``;
    const shown = await place.cli(["audit", "show", "serve-1/1"]);
    expect([shown.code, shown.stderr]).toEqual([1, expect.stringContaining(`${unreadable}\n`)]);
    const exported = await place.cli(["audit", "export", "--out", join(place.dir, "all.jsonl")]);
    expect([exported.code, exported.stderr]).toEqual([
      1,
      expect.stringContaining(`${unreadable}; use --chain to export another`),
    ]);
    expect(await place.cli(["audit", "export", "--chain", "main"])).toMatchObject({ code: 0 });
    const none = await place.cli(["audit", "log", "--consumer", "local"]);
    expect(none.stderr).not.toContain("no records so far");
    expect(none).toMatchObject({ code: 1, stderr });
  };
  await partly();
  await using daemon = await place.start();
  await partly();
  expect(await daemon.stop()).toBe(0);
  expect(await place.cli(["audit", "verify"])).toMatchObject({ code: 2 });
});

test("audit export reads no further chain after the operator has disconnected", async () => {
  using at = tempState();
  await recordCall(at);
  writeFileSync(at.db("serve-1"), "rubbish");
  using archive = archiveAt(at);
  const exported = auditHandlers(() => archive)["audit.export"];
  const lines = async (signal: AbortSignal) => {
    const plan = await exported({ payloads: false }, contextOf("read", signal));
    return Array.fromAsync(plan.run());
  };
  expect(String(await reasonOf(lines(new AbortController().signal)))).toContain("chain serve-1 cannot be read");
  expect(await lines(AbortSignal.abort())).toEqual([]);
});

test("R25 if the newest record of a chain is damaged, earlier ones are still exported", async () => {
  using at = tempState();
  {
    using store = openChain(at.db());
    store.append(rowsOf(Array.from({ length: 2_500 }, () => ({}))));
  }
  const bytes = readFileSync(at.db());
  const pageSize = bytes.readUInt16BE(16);
  const page = Math.floor(bytes.lastIndexOf('"seq":2500') / pageSize) * pageSize;
  writeFileSync(at.db(), bytes.fill(0xff, page, page + pageSize));
  using archive = archiveAt(at);
  expect(() => archive.last("main")).toThrow("malformed");
  const handlers = auditHandlers(() => archive);
  const plan = await handlers["audit.export"]({ payloads: false }, contextOf("read"));
  let lines = 0;
  const all = async () => {
    for await (const _ of plan.run()) lines++;
  };
  expect(String(await reasonOf(all()))).toContain("chain main cannot be read");
  expect(lines).toBe(2_400);
});
