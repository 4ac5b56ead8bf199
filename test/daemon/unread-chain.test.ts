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

// Each command is a process; on a busy machine that takes its time.
setDefaultTimeout(30_000);

test("R8 R25 audit log and audit stats show the chains that can be read, and name another, with a daemon and without", async () => {
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
    const unreadable = `chain serve-1 cannot be read (${why}); if that stays so, see what \`mcpgw audit verify\` says`;
    const shown = await place.cli(["audit", "show", "serve-1/1"]);
    expect([shown.code, shown.stderr]).toEqual([1, expect.stringContaining(`${unreadable}\n`)]);
    const exported = await place.cli(["audit", "export", "--out", join(place.dir, "all.jsonl")]);
    expect([exported.code, exported.stderr]).toEqual([1, expect.stringContaining(`${unreadable}; --chain exports`)]);
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

test("audit export reads no further chain for an operator who has left", async () => {
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

test("R25 of a chain whose newest record is damaged those before it are exported", async () => {
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
