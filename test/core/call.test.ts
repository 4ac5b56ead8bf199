import { expect, test } from "bun:test";
import { makeCall, makeRoute } from "../support/call.ts";
import { principal } from "../support/principal.ts";

test("a call with a life of its own is the same but for how its caller is reached", () => {
  const call = makeCall({ scope: "docs", emit: () => {}, ask: () => Promise.reject(new Error()) });
  call.who = principal();
  call.route = makeRoute("crm", "get");
  call.target = "crm:get";
  call.verdict = { rule: "r1", reason: "allowed" };
  call.policy = "digest";
  const controller = new AbortController();
  const emit = (): void => {};
  const detached = call.detached(controller, emit);
  expect(Object.assign({}, detached)).toEqual(Object.assign({}, call, { controller, emit, ask: null, input: null }));
  expect(detached.knownMethod).toBe("tools/call");
});

test("a request is ok only with a result; what is no request has none", () => {
  const call = makeCall();
  expect(call.status).toBe("error");
  call.reply = { kind: "result", era: "legacy", text: "{}", isError: false, type: null };
  expect(call.status).toBe("ok");
  expect(makeCall({ inbound: { ...call.inbound, kind: "notification", idText: null } }).status).toBe("ok");
});
