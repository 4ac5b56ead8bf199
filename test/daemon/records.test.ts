import { expect, test } from "bun:test";
import { setImmediate } from "node:timers/promises";
import { gatherEvidence } from "../../src/audit/evidence.ts";
import { verifyLines } from "../../src/audit/export.ts";
import { Cancel } from "../../src/core/cancel.ts";
import { auditHandlers, auditLog } from "../../src/daemon/handlers/audit.ts";
import { pages, records } from "../../src/daemon/handlers/records.ts";
import { statsOf } from "../../src/daemon/handlers/stats.ts";
import { tail } from "../../src/daemon/handlers/tail.ts";
import { openChain } from "../../src/store/sqlite/chain.ts";
import { handClock, note, openBroker, recordCall, runCall, tempState } from "../support/audit.ts";
import { rowsOf } from "../suites/store.ts";
import { archiveAt } from "../support/archive.ts";
import { contextOf } from "../support/context.ts";
import { reasonOf } from "../support/failure.ts";
import { use } from "../support/turns.ts";

test("R8 a log of several pages is read completely, each record once, including records added while reading", async () => {
  using at = tempState();
  using store = openChain(at.db());
  const add = (from: number, to: number) =>
    store.append(
      rowsOf(
        Array.from({ length: to - from + 1 }, () => ({})),
        from,
      ),
    );
  const seqs = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);
  add(1, 4_100);
  using archive = archiveAt(at);
  const all: number[] = [];
  for await (const { row } of records(archive, "main", {}, 4_100)) all.push(row.seq);
  expect(all).toEqual(seqs(1, 4_100));
  const later: number[] = [];
  for await (const page of pages(archive, "main", 3_000, Infinity)) {
    if (later.length === 0) add(4_101, 4_102);
    later.push(...page.map(({ seq }) => seq));
  }
  expect(later).toEqual(seqs(3_000, 4_102));
});

test("R8 R25 an answer with only the newest records says that there are older ones", async () => {
  using at = tempState();
  using store = openChain(at.db());
  store.append(rowsOf(Array.from({ length: 5 }, () => ({}))));
  using archive = archiveAt(at);
  const answer = async (limit: number) => {
    const { records: found, more } = await auditLog(archive, { limit });
    return [found.map(({ seq }) => seq), more];
  };
  expect(await answer(3)).toEqual([[5, 4, 3], true]);
  expect(await answer(5)).toEqual([[5, 4, 3, 2, 1], false]);
});

test("R25 audit stats counts the records of its period, and lists chains without any", async () => {
  using at = tempState();
  await recordCall(at);
  using archive = archiveAt(at);
  const count = auditHandlers(() => archive)["audit.stats"];
  expect((await count({}, contextOf("read"))).byType).toMatchObject({ "call.end": 1 });
  const before = await count({ until: 1 }, contextOf("read"));
  expect(before).toMatchObject({ chains: [{ chain: "main", records: 0 }], byType: {}, consumers: [] });
});

test("R9 T09 an export of a period has no holes, even if the clock was changed in between", async () => {
  using at = tempState();
  const clock = handClock();
  const hour = 3_600_000_000;
  const since = clock.now() + hour;
  {
    await using opened = await openBroker(at, {}, { clock, tick: 60_000 });
    for (const hours of [0, 1, 1, -2, 1, 1, 3, -2]) {
      clock.step(hours * hour);
      await opened.broker.recordEvent(note);
    }
    clock.step(3 * hour);
  }
  using archive = archiveAt(at);
  const input = { since, until: since + 3 * hour, payloads: false };
  const { run } = await auditHandlers(() => archive)["audit.export"](input, contextOf("read"));
  const lines = await Array.fromAsync(run());
  const { optionsFor } = await gatherEvidence({ dir: null, sources: [] });
  expect(await verifyLines(lines.map(String), optionsFor)).toMatchObject([
    { exit: 3, bad: null, first: 2, records: 7 },
  ]);
});

test("R25 counting and exporting finish even if the log grows as fast as it is read", async () => {
  using at = tempState();
  using store = openChain(at.db());
  let end = 0;
  const grow = () => {
    if (end > 100) throw new Error("it is read forever");
    store.append(rowsOf([{}], ++end));
  };
  for (let count = 0; count < 10; count++) grow();
  using archive = archiveAt(at);
  const page: typeof archive.page = async (...args) => {
    const rows = await archive.page(...args);
    grow();
    return rows;
  };
  const handlers = auditHandlers(() => ({ ...archive, page }));
  const { chains, unread } = await handlers["audit.stats"]({}, contextOf("read"));
  expect([chains, unread]).toEqual([[{ chain: "main", records: 10 }], undefined]);
  const { run } = await handlers["audit.export"]({ payloads: false }, contextOf("read"));
  const before = end;
  expect(await Array.fromAsync(run())).toHaveLength(before);
});

test("R25 large answers are processed one at a time, and yield to other work", async () => {
  using at = tempState();
  using store = openChain(at.db());
  store.append(rowsOf(Array.from({ length: 10_000 }, () => ({}))));
  using archive = archiveAt(at);
  const order: string[] = [];
  const find: typeof archive.find = async (query) => {
    order.push("begins");
    await setImmediate();
    return archive.find(query);
  };
  const handlers = auditHandlers(() => ({ ...archive, find }));
  const ask = async (limit: number) => {
    const { records: found } = await handlers["audit.log"]({ limit }, contextOf("read"));
    order.push(`ends with ${found.length}`);
  };
  let turns = 0;
  const asked = Promise.all([ask(10_000), ask(3)]);
  for (let over = false; !over; turns++) over = await Promise.race([asked.then(() => true), setImmediate(false)]);
  expect(order).toEqual(["begins", "ends with 10000", "begins", "ends with 3"]);
  // Without yielding it takes three turns; how many more depends on the machine.
  expect(turns).toBeGreaterThan(3);
});

test("R25 concurrent exports, tails and shows read one at a time, and a slow reader blocks none of them", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  await Promise.all(Array.from({ length: 300 }, () => runCall(opened.broker)));
  await opened.broker.flush();
  using archive = archiveAt(at);
  let [asking, most] = [0, 0];
  const page: typeof archive.page = async (...args) => {
    most = Math.max(most, ++asking);
    await setImmediate();
    asking--;
    return archive.page(...args);
  };
  const handlers = auditHandlers(() => ({ ...archive, page }));
  const stop = new AbortController();
  const ctx = contextOf("read", stop.signal);
  const past = () => tail(opened.broker, { ...archive, page }, { since: 0 }, ctx);
  const exported = async () => (await handlers["audit.export"]({ payloads: false }, ctx)).run()[Symbol.asyncIterator]();
  const show = async (seq: number) =>
    (await handlers["audit.show"]({ seq, chain: "main", payloads: false }, ctx)).run();
  const [whole, ...slow] = await Promise.all([exported(), exported(), exported()]);
  const first = [...slow, past(), past()].map(async (reader) => expect((await reader.next()).done).toBe(false));
  await Promise.all([...first, show(1), show(2)]);
  let lines = 0;
  while (!(await whole.next()).done) lines++;
  expect(lines).toBe(600);
  expect(most).toBe(1);
  stop.abort();
});

test("R25 counting the log yields to other work", async () => {
  using at = tempState();
  using store = openChain(at.db());
  store.append(rowsOf(Array.from({ length: 2_000 }, () => ({}))));
  using archive = archiveAt(at);
  let [turns, seen] = [0, 0];
  const counted = (async () => {
    for await (const _ of records(archive, "main", {}, Infinity)) {
      use(0.01);
      seen++;
    }
  })();
  for (let over = false; !over; turns++) over = await Promise.race([counted.then(() => true), setImmediate(false)]);
  expect(seen).toBe(2_000);
  expect(turns).toBeGreaterThan(6);
});

test.each([{}, { since: 1e18 }])("R25 a canceled count stops: %j", async (period) => {
  using at = tempState();
  for (const chain of ["main", "serve-1"]) await recordCall(at, {}, { chain });
  using archive = archiveAt(at);
  const left = new Cancel();
  let asked = 0;
  const page: typeof archive.page = (...args) => {
    asked++;
    left.abort();
    return archive.page(...args);
  };
  expect(await reasonOf(statsOf({ ...archive, page }, period, null, left))).toMatchObject({ code: "cancelled" });
  expect(asked).toBe(1);
});

test("R8 statistics by status and by consumer count the same calls, without reported outcomes of tasks", async () => {
  using at = tempState();
  using store = openChain(at.db());
  const call = { consumer: "a", srv: "s", tool: "t", st: "ok" };
  store.append(
    rowsOf([
      { ...call, method: "tools/call" },
      { ...call, method: "subscriptions/listen" },
    ]),
  );
  using archive = archiveAt(at);
  const { byStatus, consumers } = await statsOf(archive, {}, null, new Cancel());
  expect([byStatus, consumers]).toMatchObject([{ ok: 1 }, [{ name: "a", calls: 1 }]]);
});
