import { expect, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import { principal } from "../support/principal.ts";
import { writtenLog } from "../support/written-log.ts";
import { call } from "./ask.ts";
import { harness, ok, send } from "./support.ts";

async function logged(failure: Failure): Promise<unknown[]> {
  const h = harness({ script: () => Promise.reject(failure) });
  const { lines, log } = writtenLog();
  await send({ ...h.gw, log }, "tools/call", call);
  return lines.map((line) => JSON.parse(line));
}

test("R63: a server's failure is logged for operators, and a caller's mistake is not", async () => {
  const internal = "connect ECONNREFUSED 10.0.0.1:443";
  expect(await logged(new Failure("upstream-down", "It is down.", { internal }))).toMatchObject([
    { level: "error", msg: "request failed", call: "call-1", code: "upstream-down", server: "crm", cause: internal },
  ]);
  expect(await logged(new Failure("upstream-down", "It is down."))).toEqual([]);
  expect(await logged(new Failure("unauthenticated", "No.", { internal: "no such key" }))).toEqual([]);
});

test("T42: a result that comes after the caller's key was revoked is recorded as withheld", async () => {
  const who = principal("key:carol", ["reader"]);
  const h = harness({ script: () => (who.revoke(), ok()) });
  const ends: unknown[] = [];
  const { end } = h.gw.audit;
  const recorded: typeof end = (each) => (ends.push([each.failure?.code, each.reply]), end(each));
  Object.assign(h.gw.audit, { end: recorded });
  await send(h.gw, "tools/call", call, { who });
  expect(ends).toEqual([["rights-lost", null]]);
});
