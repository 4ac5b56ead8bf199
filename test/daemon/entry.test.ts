import { expect, test } from "bun:test";
import { type IdentifiedCall, setCaller } from "../../src/core/call.ts";
import { Failure } from "../../src/core/failure.ts";
import { subject } from "../../src/control/present.ts";
import { auditLog } from "../../src/daemon/handlers/audit.ts";
import { entryOf } from "../../src/daemon/handlers/entry.ts";
import { answered, callOf, failed, openBroker, tempState } from "../support/audit.ts";
import { principal } from "../support/principal.ts";
import { archiveAt } from "../support/archive.ts";

test.each(["key:k-1", "local:0", "stdio:desk", "anonymous"])(
  "R8 every record shows the same name for a caller, whichever form it stores (%s)",
  async (id) => {
    using at = tempState();
    const opened = await openBroker(at);
    const made = (): IdentifiedCall => {
      const call = callOf();
      setCaller(call, { ...principal(id), keyId: id.startsWith("key:") ? id.slice(4) : null });
      return call;
    };
    const call = made();
    await opened.broker.begin(call);
    await opened.broker.end(answered(call));
    await opened.broker.end(failed(made(), new Failure("denied", "no")));
    // Its outcome is not recorded, so reopening the log adds one.
    await opened.broker.begin(made());
    await opened.close();
    await (await openBroker(at)).close();
    using archive = archiveAt(at);
    const { records } = await auditLog(archive, { type: "*", limit: 50 });
    const told = records.filter(({ type }) => type !== "checkpoint").map(({ type, caller }) => [type, caller]);
    expect(told.toReversed()).toEqual([
      ["call.begin", id],
      ["call.end", id],
      ["call.refused", id],
      ["call.begin", id],
      ["call.lost", id],
    ]);
    expect(records.find(({ type }) => type === "checkpoint")?.caller).toBe("system");
  },
);

test.each([
  [{ type: "call.end", method: "tools/call", srv: "crm", tool: "get" }, "crm:get"],
  [{ type: "call.refused", method: "tools/call", tool: "nobody__knows" }, '"nobody__knows"'],
  [
    { type: "call.end", method: "resources/subscribe", srv: "docs", tool: "file:///a" },
    "resources/subscribe docs:file:///a",
  ],
  [{ type: "call.end", method: "prompts/get", srv: "docs", tool: "get" }, "prompts/get docs:get"],
  [{ type: "call.end", method: "subscriptions/listen" }, "subscriptions/listen"],
  [{ type: "call.refused", method: "initialize" }, "initialize"],
  [{ type: "call.refused", method: "" }, "call.refused"],
  [{ type: "call.end", method: "com.acme/fill", srv: "forms", tool: "com.acme/fill" }, "forms:com.acme/fill"],
  [{ type: "server.started", facts: { server: "crm" } }, "server.started crm"],
  [{ type: "config.loaded" }, "config.loaded"],
])("R8 a record shows the method, except for a tool call: %o", (record, shown) => {
  const t = "2026-03-01T12:00:00.000000Z";
  expect(subject(entryOf("main", 1, JSON.stringify({ v: 1, chain: "main", seq: 1, t, ...record })))).toBe(shown);
});

test("R8 a record shows the code of a refusal, and the count if it stands for several calls", () => {
  const record = { v: 1, chain: "main", seq: 1, t: "2026-03-01T12:00:00.000000Z", type: "call.refused" };
  const factsOf = (more: object) => entryOf("main", 1, JSON.stringify({ ...record, ...more })).facts;
  expect(factsOf({ code: "denied", count: 60 })).toEqual({ code: "denied", count: 60 });
  expect(factsOf({})).toEqual({});
});

test.each([
  ["call.end", {}],
  ["auth.failed", { cause: "no such key" }],
])(
  "S33 a caller may not read the cause of a failed call, but operators see that of refused credentials (%s)",
  (type, facts) => {
    const t = "2026-03-01T12:00:00.000000Z";
    const rec = JSON.stringify({ v: 1, chain: "main", seq: 1, t, type, cause: "no such key" });
    expect(entryOf("main", 1, rec).facts).toEqual(facts);
  },
);
