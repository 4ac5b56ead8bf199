import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { join } from "node:path";
import { auditLog } from "../../src/daemon/handlers/audit.ts";
import { tail } from "../../src/daemon/handlers/tail.ts";
import type { AuditBroker } from "../../src/audit/broker.ts";
import { rollUpPage } from "../../src/daemon/rollup.ts";
import { openIndexWriter } from "../../src/store/sqlite/index-writer.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { openBroker, runCall, tempState } from "../support/audit.ts";
import { archiveAt } from "../support/archive.ts";
import { contextOf } from "../support/context.ts";

// Which filters select records that are not calls.

type Selection = { readonly consumer?: string; readonly server?: string; readonly tool?: string };

/** Returns the record types that `audit log` and `tail` show for a selection, oldest first; both must agree. */
async function typesOf(at: { readonly state: string }, broker: AuditBroker, selection: Selection): Promise<string[]> {
  await broker.flush();
  using archive = archiveAt(at);
  const { records } = await auditLog(archive, { ...selection, limit: 50 });
  const types = records.map(({ type }) => type).toReversed();
  const stop = new AbortController();
  const told: string[] = [];
  const entries = tail(broker, archive, { ...selection, since: 0 }, contextOf("read", stop.signal));
  for (const _ of types) {
    const { value } = await entries.next();
    if (value && "type" in value) told.push(value.type);
  }
  stop.abort();
  expect(told).toEqual(types);
  expect((await entries.next()).done).toBe(true);
  return types;
}

test("R8 R11 a consumer filter selects its sessions as well as its calls", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  const facts = { session: "s", client: null, revision: "2025-11-25" } as const;
  for (const consumer of ["a", "b"]) {
    await opened.broker.recordEvent({ type: "session.open", actor: `key:${consumer}`, consumer, facts });
    await runCall(opened.broker, { consumer });
  }
  expect(await typesOf(at, opened.broker, { consumer: "a" })).toEqual(["session.open", "call.end"]);
});

test("R8 R11 a tool filter matches the tool's own name and its canonical name", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  for (const server of ["a", "b"]) await runCall(opened.broker, { server, tool: "q" });
  await runCall(opened.broker, { server: "a", tool: "a:q" });
  expect(await typesOf(at, opened.broker, { tool: "q" })).toHaveLength(2);
  expect(await typesOf(at, opened.broker, { tool: "b:q" })).toHaveLength(1);
  expect(await typesOf(at, opened.broker, { tool: "a:q" })).toHaveLength(2);
  expect(await typesOf(at, opened.broker, { tool: "a:a:q" })).toHaveLength(1);
});

test("R8 R11 a server filter selects server events as well as calls, with and without the index", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  for (const server of ["a", "b"]) {
    const crash = { server, reason: "it ended with code 7" };
    await opened.broker.recordEvent({ type: "server.crashed", actor: "system", facts: crash });
    await runCall(opened.broker, { server });
  }
  const found = async () => {
    expect(await typesOf(at, opened.broker, { server: "a" })).toEqual(["server.crashed", "call.end"]);
  };
  await found();
  const path = join(at.state, "index.db");
  {
    using index = openIndexWriter(path);
    using reader = openReader({ state: at.state, main: null });
    expect(rollUpPage(reader, "main", opened.broker.durable(), { usage: null, index })).toBe(false);
  }
  await found();
  // An index of an earlier version lacks the servers of events, so it is not used until it is rebuilt.
  using db = new Database(path);
  db.run("UPDATE entry SET srv = NULL WHERE type = 'server.crashed'");
  db.run("PRAGMA user_version = 1");
  await found();
  using anew = openIndexWriter(path);
  expect(anew.mark("main")).toBeNull();
});
