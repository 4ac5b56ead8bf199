import { expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { Drafts } from "../../src/audit/draft.ts";
import { auditOptions } from "../../src/audit/options.ts";
import { createSubject, valueOf } from "../../src/audit/subject.ts";
import type { Route, Verdict } from "../../src/core/call.ts";
import { systemClock } from "../../src/core/clock.ts";
import { Failure } from "../../src/core/failure.ts";
import { maxNameLength, notFound } from "../../src/core/name.ts";
import { makeCall, makeRoute } from "../support/call.ts";

const newDrafts = () => new Drafts(auditOptions.parse({}), () => [], systemClock);
const from = (ip: string) => ({ transport: "http", ip, loopback: false, forwarded: false }) as const;
const ips = Array.from({ length: 1000 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);

test("R8 while nothing can be committed, pseudonyms are reused and bounded, whoever calls", () => {
  const drafts = newDrafts();
  const names = ips.map((ip) => drafts.source(from(ip)));
  expect(new Set(names).size).toBe(1000);
  expect(drafts.source(from("192.0.2.1"))).toBe("http:~");
  expect(drafts.source({ ...from("127.0.0.1"), loopback: true })).toBe("http:127.0.0.1");
  expect(ips.map((ip) => drafts.source(from(ip)))).toEqual(names);
  expect(drafts.subjects).toHaveLength(1000);
});

test("R8 a commit makes room for new pseudonyms, and known addresses keep theirs", () => {
  const drafts = newDrafts();
  const [first = "", second = ""] = ips;
  const name = drafts.source(from(first));
  // As the writer does after storing them.
  drafts.subjects.length = 0;
  expect(drafts.source(from(first))).toBe(name);
  expect(drafts.source(from(second))).not.toBe(name);
  expect(drafts.subjects.map(({ value }) => value)).toEqual([second]);
});

test("R8 the value of a pseudonym is not accepted from a row that was changed or erased", () => {
  const row = createSubject("192.0.2.7");
  const changed = [{ ...row, value: "192.0.2.8" }, { ...row, salt: row.salt.toReversed() }, { ...row, id: "~x" }, null];
  expect([row, ...changed].map(valueOf)).toEqual(["192.0.2.7", null, null, null, null]);
  // As scripts/docs/audit.md says.
  const name = createHmac("sha256", row.salt).update("192.0.2.7").digest("base64url").slice(0, 22);
  expect(row.id).toBe(`~${name}`);
});

/** Returns what a record of a call by this method says was called. */
function toolOf(method: string, kind: Route["kind"], name: string, isResolved = true) {
  const call = makeCall({ method });
  call.target = name;
  if (isResolved) call.route = { ...makeRoute("crm", name), kind };
  return newDrafts().begin(call).fields.tool;
}

const token = `sk-ant-api03-${"Ab1_".repeat(24)}`;

test("R17 a called name that the caller chose is recorded without credentials", () => {
  const method = `com.acme/thing/${token}`;
  expect(toolOf(method, "extension", method)).toBe("com.acme/thing/[redacted]");
  expect(toolOf(method, "extension", method, false)).toBe("com.acme/thing/[redacted]");
  const [uri, shown] = [token, "[redacted]"].map((each) => `file:///${"x".repeat(300)}/${each}`);
  expect(toolOf("resources/read", "resource", String(uri))).toBe(String(shown));
  expect(toolOf("tools/call", "tool", token)).toBe(token);
});

test("R17 a request id, which the caller chooses, is recorded shortened and without credentials", () => {
  const rpcOf = (idText: string): unknown => {
    const call = makeCall();
    Object.assign(call.inbound, { idText });
    return newDrafts().begin(call).fields.rpc;
  };
  expect(rpcOf(`"ghp_${"a1B2".repeat(9)}"`)).toBe('"[redacted]"');
  expect(rpcOf(`"${"x".repeat(300)}"`)).toHaveLength(200);
  expect(rpcOf("7")).toBe("7");
});

test("R17 the tool of an extension call is recorded no longer than its method", () => {
  const method = `com.acme/${"x".repeat(maxNameLength)}`;
  expect(toolOf(method, "extension", method)).toHaveLength(200);
});

test("R8 the record of a call to something hidden has the policy's reason, not the message that hides it from the caller", () => {
  const refused = (failure: Failure, verdict: Verdict | null) => {
    const call = makeCall();
    call.verdict = verdict;
    call.failure = failure;
    const { rule, reason, code } = newDrafts().refused(call).fields;
    return [rule, reason, code];
  };
  const hidden = notFound("tool", "crm__get");
  const [none, guardrail] = [
    { rule: null, reason: "no rule allows it" },
    { rule: "no-crm", reason: "it is sold" },
  ];
  expect(refused(hidden, none)).toEqual([undefined, "no rule allows it", "unknown-tool"]);
  expect(refused(hidden, guardrail)).toEqual(["no-crm", "it is sold", "unknown-tool"]);
  expect(refused(hidden, null)).toEqual([undefined, "Unknown tool: crm__get", "unknown-tool"]);
  const denied = new Failure("denied", "Denied by rule no-crm. Use another.", { rule: "no-crm" });
  expect(refused(denied, guardrail)).toEqual(["no-crm", "Denied by rule no-crm. Use another.", "denied"]);
});

test("R17 a result type invented by an extension is recorded shortened and without credentials", () => {
  const call = makeCall();
  call.reply = { kind: "result", era: "modern", text: "{}", isError: false, type: `${token} ${"x".repeat(1000)}` };
  const { code } = newDrafts().end(call, 1).fields;
  expect(code).toStartWith("[redacted] xxx");
  expect(code).toHaveLength(500);
});

test("R8 a subscription request is recorded with the names of everything it asks for", () => {
  const call = makeCall({ method: "subscriptions/listen" });
  const notifications = { toolsListChanged: true, resourceSubscriptions: ["file:///a", "file:///b"], taskIds: ["t"] };
  Object.assign(call.inbound, { params: { notifications } });
  const { fields, payload } = newDrafts().once(call, { opens: "subscription" });
  expect(JSON.parse(payload?.body ?? "")).toEqual(notifications);
  expect(fields.al).toBe(JSON.stringify(notifications).length);
});
