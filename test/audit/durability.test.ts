import { expect, setDefaultTimeout, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import { createLogger } from "../../src/daemon/own-log.ts";
import { StoreBusy, StoreFailed } from "../../src/core/store.ts";
import { codeOf, rejectionOf } from "../support/failure.ts";
import { until } from "../support/until.ts";
import {
  answered,
  callOf,
  failed,
  faultyStore,
  handClock,
  openBroker,
  recordsOf,
  runCall,
  tempState,
  callsIn,
  openLog,
} from "../support/audit.ts";

setDefaultTimeout(30_000);

const waits: [durability: "strict" | "standard" | "relaxed", begin: boolean, end: boolean][] = [
  ["strict", true, true],
  ["standard", true, false],
  ["relaxed", false, false],
];
const asked = { request: { method: "roots/list", params: "{}" }, outcome: "asked", answer: null, rule: null } as const;
for (const [durability, begin, end] of waits) {
  test(`D6 ${durability}: begin ${begin ? "waits" : "does not wait"} for the disk, end ${end ? "waits" : "does not"}`, async () => {
    await using opened = await openLog({ durability });
    let held: PromiseWithResolvers<void> | null = null;
    // The real sync, held back until the test releases it.
    opened.faulty.sync = (real) => (held = Promise.withResolvers<void>()).promise.then(real);
    const release = (): void => {
      held?.resolve();
      held = null;
    };
    const call = callOf();
    for (const [stage, waiting] of [
      [() => opened.broker.begin(call), begin],
      [() => opened.broker.input(call, asked), begin],
      [() => opened.broker.once(callOf(), { opens: "subscription" }), begin],
      [() => opened.broker.end(answered(call)), end],
    ] as const) {
      let done = false;
      const pending = stage().then(() => (done = true));
      await until(() => done || held !== null, "a commit or a sync");
      await Bun.sleep(0);
      expect(done).toBe(!waiting);
      release();
      await pending;
    }
    opened.faulty.sync = null;
    release();
  });
}

test.each(["standard", "relaxed"] as const)(
  "D6 %s: records that no call waits for are durable about a second later",
  async (durability) => {
    using at = tempState();
    // At the pace of the daemon, not of other tests.
    await using opened = await openBroker(at, { durability }, { tick: undefined });
    const from = performance.now();
    await runCall(opened.broker);
    await until(() => opened.broker.durable() === 2, "the sync");
    expect(performance.now() - from).toBeWithin(100, 3_500);
  },
);

test("D6 a failed sync rejects all waiters, ends the process, and is not retried", async () => {
  using at = tempState();
  const fatal: string[] = [];
  const faulty = faultyStore(at);
  const options = { store: faulty.store, fatal: (reason: string) => void fatal.push(reason) };
  const opened = await openBroker(at, { durability: "strict" }, options);
  let syncs = 0;
  faulty.sync = () => {
    syncs += 1;
    return Promise.reject(new StoreFailed("fdatasync: EIO"));
  };
  const codes = await Promise.all([callOf(), callOf()].map((call) => codeOf(opened.broker.begin(call))));
  expect(codes).toEqual(["audit-unavailable", "audit-unavailable"]);
  expect(await codeOf(opened.broker.begin(callOf()))).toBe("audit-unavailable");
  expect(fatal).toEqual(["fdatasync: EIO"]);
  expect(syncs).toBe(1);
  await opened.close();
});

test("P5: if the record fails, a refused call reports no effect, but an answered one reports a possible effect", async () => {
  await using opened = await openLog();
  const begun = callOf();
  await opened.broker.begin(begun);
  opened.faulty.full = new StoreFailed("disk full");
  const refused = opened.broker.end(failed(callOf(), new Failure("denied", "not yours")));
  expect((await rejectionOf(refused)).message).toMatch(/was refused/);
  const ran = failed(callOf(), new Failure("result-too-large", "too much", { ran: "yes" }));
  for (const seen of [answered(begun), ran])
    expect((await rejectionOf(opened.broker.end(seen))).message).toMatch(/may have had an effect/);
  opened.faulty.full = null;
});

test("D6 onFailure allow lets calls pass unrecorded, reports it, and records again once possible", async () => {
  const lines: string[] = [];
  const log = createLogger({ level: "error", format: "text", write: (line) => lines.push(line) > 0 });
  await using opened = await openLog({ onFailure: "allow" }, { log });
  opened.faulty.full = new StoreFailed("disk full");
  for (let i = 0; i < 4; i += 1) await opened.broker.begin(callOf());
  const call = callOf();
  await opened.broker.begin(call);
  expect([call.begun, call.beginning]).toEqual([true, null]);
  expect(opened.broker.health()).toMatchObject({ ok: false, reason: "disk full", unrecorded: 5, onFailure: "allow" });
  log.flush();
  expect(lines).toEqual([
    expect.stringContaining("passed without an audit record"),
    expect.stringContaining("count=4"),
  ]);
  opened.faulty.full = null;
  await opened.broker.end(answered(call));
  expect(callsIn(opened)).toMatchObject([{ type: "call.end", call: call.id, st: "ok" }]);
  expect(opened.broker.health().ok).toBe(true);
});

test("D6 onFailure allow counts each unrecorded call once, but no refusals, and records the number", async () => {
  await using opened = await openLog({ onFailure: "allow" });
  const refuse = () => opened.broker.end(failed(callOf(), new Failure("denied", "x")));
  opened.faulty.full = new StoreFailed("disk full");
  await runCall(opened.broker);
  await opened.broker.once(callOf(), { opens: "subscription" });
  await refuse();
  expect(opened.broker.health().unrecorded).toBe(2);
  opened.faulty.full = null;
  // Whichever detects first that the log accepts records again.
  await refuse();
  const resumed = () => recordsOf(opened).filter(({ type }) => type === "audit.resumed");
  await until(() => resumed().length > 0, "the number is on record");
  await opened.close();
  expect(resumed().map(({ facts }) => facts)).toEqual([{ after: "disk full", unrecorded: 2 }]);
});

test("D6 the end of an outage is recorded once, however many attempts there were", async () => {
  using at = tempState();
  const faulty = faultyStore(at);
  let looked = 0;
  const clock = { ...handClock(), now: () => (looked++, Date.now() * 1000) };
  await using opened = await openBroker(at, {}, { store: faulty.store, clock });
  faulty.full = new StoreFailed("disk full");
  expect(await codeOf(opened.broker.begin(callOf()))).toBe("audit-unavailable");
  faulty.full = new StoreBusy();
  const before = looked;
  await until(() => looked > before + 10, "some rounds, while another process holds the log");
  faulty.full = null;
  await until(() => opened.broker.health().ok, "recovery");
  await opened.close();
  const resumed = recordsOf(at).filter(({ type }) => type === "audit.resumed");
  expect(resumed.map(({ facts }) => facts)).toEqual([{ after: "disk full", unrecorded: 0 }]);
});

test("D6 onFailure allow counts a call once if several of its questions passed unrecorded", async () => {
  await using opened = await openLog({ onFailure: "allow" });
  const call = callOf();
  const request = { method: "elicitation/create", params: "{}" } as const;
  await opened.broker.begin(call);
  opened.faulty.full = new StoreFailed("disk full");
  await opened.broker.input(call, { request, outcome: "asked", answer: null, rule: null });
  await opened.broker.input(call, { request, outcome: "accept", answer: "{}", rule: null });
  expect(opened.broker.health().unrecorded).toBe(1);
  opened.faulty.full = null;
  await opened.broker.end(answered(call));
  await opened.close();
  const resumed = recordsOf(opened).filter(({ type }) => type === "audit.resumed");
  expect(resumed.map(({ facts }) => facts)).toEqual([{ after: "disk full", unrecorded: 1 }]);
});

test("a failed commit leaves the chain unchanged, and an outcome that could not be recorded shows as lost", async () => {
  await using opened = await openLog();
  const call = callOf();
  await opened.broker.begin(call);
  opened.faulty.full = new StoreFailed("disk full");
  expect(await codeOf(opened.broker.end(answered(call)))).toBe("audit-unavailable");
  opened.faulty.full = null;
  const lost = await until(() => callsIn(opened).find(({ type }) => type === "call.lost"), "call.lost");
  expect(lost).toMatchObject({ call: call.id, ref: 1, st: "lost", consumer: "agent", srv: "crm", al: 8 });
  await runCall(opened.broker);
  const seqs = recordsOf(opened).map(({ seq }) => seq);
  expect(seqs).toEqual(seqs.map((_, index) => index + 1));
  expect(recordsOf(opened).map(({ type }) => type)).toContain("audit.resumed");
});

test("D6 strict: an end record that is committed, but not confirmed by the disk in time, is recorded only once", async () => {
  using at = tempState();
  const clock = handClock();
  const faulty = faultyStore(at);
  await using opened = await openBroker(at, { durability: "strict" }, { store: faulty.store, clock });
  const call = callOf();
  await opened.broker.begin(call);
  const held = Promise.withResolvers<void>();
  let hanging = false;
  faulty.sync = (real) => {
    hanging = true;
    return held.promise.then(real);
  };
  const ending = codeOf(opened.broker.end(answered(call)));
  await until(() => hanging, "a sync");
  clock.advance(6_000_000);
  expect(await ending).toBe("audit-unavailable");
  faulty.sync = null;
  held.resolve();
  await until(() => opened.broker.health().ok, "recovery");
  await opened.close();
  expect(callsIn(at).map(({ type }) => type)).toEqual(["call.begin", "call.end"]);
});

test("D6 relaxed: a hung sync is detected though no call waits for it, calls are refused until it ends, and the log records it", async () => {
  using at = tempState();
  const clock = handClock();
  const faulty = faultyStore(at);
  await using opened = await openBroker(at, {}, { store: faulty.store, clock });
  const held = Promise.withResolvers<void>();
  let hanging = false;
  faulty.sync = (real) => {
    hanging = true;
    return held.promise.then(real);
  };
  await runCall(opened.broker);
  await until(() => hanging, "a sync");
  clock.advance(6_000_000);
  await until(() => opened.broker.health().reason === "the disk does not answer", "the fault");
  expect(await codeOf(opened.broker.begin(callOf()))).toBe("audit-unavailable");
  faulty.sync = null;
  held.resolve();
  await until(() => opened.broker.health().ok, "recovery");
  await runCall(opened.broker);
  const resumed = () => recordsOf(at).find(({ type }) => type === "audit.resumed");
  const told = await until(resumed, "the outage is on record");
  expect(told).toMatchObject({ facts: { after: "the disk does not answer", unrecorded: 0 } });
});

test("D6 relaxed: the number of records waiting for a slow disk is bounded", async () => {
  using at = tempState();
  const faulty = faultyStore(at);
  // A stopped clock: on a slow machine, the disk would otherwise be given up before it is too far behind.
  const clock = { ...handClock(), mono: () => 0 };
  const store = { ...faulty.store, append: () => {} };
  await using opened = await openBroker(at, { payloads: "none" }, { store, clock });
  const held = Promise.withResolvers<void>();
  faulty.sync = () => held.promise;
  const note = () =>
    opened.broker.recordEvent({ type: "server.stopped", actor: "system", facts: { server: "s", pid: 1 } });
  let refused = 0;
  for (let round = 0; round < 70 && refused === 0; round += 1) {
    const settled = await Promise.allSettled(Array.from({ length: 1000 }, note));
    refused = settled.filter(({ status }) => status === "rejected").length;
  }
  expect(refused).toBeGreaterThan(0);
  expect(opened.broker.health()).toMatchObject({ ok: false, reason: "the disk is too far behind" });
  held.resolve();
  await until(() => opened.broker.health().ok, "recovery");
});

test("calls are refused at once when the queue holds its maximum number of bytes", async () => {
  await using opened = await openLog({ payloads: "full" });
  const args = `"${"x".repeat(65_000)}"`;
  const settled = await Promise.allSettled(Array.from({ length: 400 }, () => opened.broker.begin(callOf({ args }))));
  const refused = settled.filter(({ status }) => status === "rejected").length;
  expect(refused).toBeGreaterThan(100);
  expect(400 - refused).toBeGreaterThan(200);
  await runCall(opened.broker);
});
