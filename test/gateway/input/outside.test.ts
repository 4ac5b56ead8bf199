import { expect, test } from "bun:test";
import { Failure } from "../../../src/core/failure.ts";
import type { ClientAnswer, InputMethod } from "../../../src/core/inbound.ts";
import type { InputStep, Reached } from "../../../src/core/ports.ts";
import { askSession } from "../../../src/gateway/input/asking.ts";
import { loopback } from "../../support/call.ts";
import { principal } from "../../support/principal.ts";
import { kinds } from "../ask.ts";
import { allowsNothing, harness, session } from "../support.ts";

// A server's questions outside of any call, to the session that owns its instance.

const answer = '{"roots":[{"uri":"file:///r"}],"_meta":{"progressToken":1}}';

/** Returns a gateway with one listening session, and the order of records and questions to the client. */
function door({ declares = { roots: {} }, denies = [] as string[], failing = "", isBarred = false } = {}) {
  const who = principal("key:a");
  const happened: string[] = [];
  const ask = ({ method }: { method: InputMethod }): Promise<ClientAnswer> => {
    happened.push(`client ${method}`);
    return Promise.resolve({ kind: "result", text: answer });
  };
  const to: Reached = { who, source: loopback, session: session(who, declares), ask };
  const { gw, inForce } = harness({ denies });
  if (isBarred) inForce.policy = allowsNothing;
  const inputOutside = async (of: Reached, server: string, { outcome, rule }: InputStep): Promise<void> => {
    if (outcome === failing) throw new Failure("audit-unavailable", "No log.");
    expect(of).toBe(to);
    happened.push(`record ${server} ${outcome}${rule === null ? "" : ` ${rule}`}`);
  };
  const put = (owner = who.id, id = to.session.id) =>
    askSession(
      {
        inForce: gw.inForce,
        audit: { ...gw.audit, inputOutside },
        notifier: { ...gw.notifier, reach: (of) => (of === to.session.id ? to : null) },
      },
      { server: "crm", owner, session: id, request: { method: "roots/list", params: "{}" } },
      new AbortController().signal,
    );
  return { happened, put };
}

test("the question is recorded before it is sent, and its answer before it is passed on", async () => {
  const { happened, put } = door();
  expect(await put()).toEqual({ kind: "result", text: '{"roots":[{"uri":"file:///r"}]}' });
  expect(happened).toEqual(["record crm asked", "client roots/list", "record crm accept"]);
});

test("D16: a session of another principal, or one that does not listen, is not asked", async () => {
  const { happened, put } = door();
  for (const refused of [await put("key:b"), await put("key:a", "another")]) {
    expect(refused).toMatchObject({ kind: "error", text: expect.stringContaining("-32601") });
  }
  expect(happened).toEqual([]);
});

test("a question must be declared and allowed by the guardrails, and a refusal is recorded", async () => {
  const denied = door({ denies: ["crm roots/list"] });
  expect(await denied.put()).toMatchObject({ kind: "error", text: expect.stringContaining("no-questions") });
  expect(denied.happened).toEqual(["record crm refused no-questions"]);
  const undeclared = door({ declares: kinds["form"]?.declares as { roots: object } });
  expect(await undeclared.put()).toMatchObject({ kind: "error", text: expect.stringContaining("-32601") });
  expect(undeclared.happened).toEqual(["record crm refused"]);
});

test("R2: a caller without any current right on the server is not asked, and that is recorded", async () => {
  const { happened, put } = door({ isBarred: true });
  expect(await put()).toMatchObject({ kind: "error", text: expect.stringContaining("no longer has any right on it") });
  expect(happened).toEqual(["record crm refused"]);
});

test("a question or answer that cannot be recorded is not passed on", async () => {
  for (const failing of ["asked", "accept"]) {
    expect((await door({ failing }).put()).kind).toBe("error");
  }
});
