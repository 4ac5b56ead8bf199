import { expect, test } from "bun:test";
import type { AuditBroker } from "../../src/audit/broker.ts";
import type { AuditEvent } from "../../src/core/event.ts";
import type { Reached } from "../../src/core/ports.ts";
import { until } from "../support/until.ts";
import { callOf, handClock, openLog } from "../support/audit.ts";

const by = { actor: "local:0" } as const;
const key: AuditEvent = { ...by, type: "key.revoked", facts: { key: "k", uid: 0, gid: 0, pid: 1 } };
const admin: AuditEvent = {
  ...by,
  type: "admin.payloads-shown",
  facts: { seq: 1, chain: "main", uid: 0, gid: 0, pid: 1 },
};
const server: AuditEvent = { actor: "system", type: "server.stopped", facts: { server: "s", pid: 1 } };

function question(broker: AuditBroker): Promise<void> {
  const { who, source } = callOf();
  const to = { who, source, session: { id: "s" } } as Reached; // nothing else of the session is recorded
  const step = { request: { method: "roots/list", params: "{}" }, outcome: "asked", answer: null, rule: null } as const;
  return broker.inputOutside(to, "crm", step);
}

const records: Record<string, (broker: AuditBroker) => Promise<unknown>> = {
  "an act with keys": (broker) => broker.recordEvent(key),
  "an act of an administrator": (broker) => broker.recordEvent(admin),
  "an act that has happened": (broker) => broker.recordDone(key),
  "a question to a session": question,
};

for (const [name, record] of Object.entries(records)) {
  test.each([
    ["strict", true],
    ["standard", true],
    ["relaxed", false],
  ] as const)(`D6 ${name} under %s waits for the disk: %p`, async (durability, waits) => {
    await using opened = await openLog({ durability }, { tick: 60_000 });
    const [held, begun] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    opened.faulty.sync = (real) => {
      begun.resolve();
      return held.promise.then(real);
    };
    // Events that merely happen to the gateway do not wait for the disk.
    await opened.broker.recordEvent(server);
    let done = false;
    const pending = record(opened.broker).then(() => (done = true));
    await (waits ? begun.promise : pending);
    await Bun.sleep(0);
    expect(done).toBe(!waits);
    held.resolve();
    await pending;
  });
}

test.each([
  ["that is about to happen", (broker: AuditBroker) => broker.recordEvent(key).then(() => "goes on")],
  [
    "that has happened",
    (broker: AuditBroker) => broker.recordDone(key).then((durable) => (durable ? "durable" : "late")),
  ],
])(
  "D6 an act %s whose sync takes too long is in the chain: it takes effect and is not recorded twice",
  async (_when, act) => {
    const clock = handClock();
    await using opened = await openLog({ durability: "strict" }, { clock });
    const held = Promise.withResolvers<void>();
    let syncing = false;
    opened.faulty.sync = (real) => {
      syncing = true;
      return held.promise.then(real);
    };
    const recorded = act(opened.broker);
    await until(() => syncing, "a sync");
    clock.advance(6_000_000);
    expect(await recorded).not.toBe("durable");
    expect(opened.broker.health()).toMatchObject({ backlog: 0, records: 1 });
    opened.faulty.sync = null;
    held.resolve();
    await until(() => opened.broker.health().ok, "recovery");
  },
);
