import { expect, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import { writtenLog } from "../support/written-log.ts";
import { call } from "./ask.ts";
import { harness, send } from "./support.ts";

async function logged(failure: Failure): Promise<unknown[]> {
  const h = harness({ script: () => Promise.reject(failure) });
  const { lines, log } = writtenLog();
  await send({ ...h.gw, log }, "tools/call", call);
  return lines.map((line) => JSON.parse(line));
}

test("R63: what is wrong with a server is logged for operators, and what its caller did wrong is not", async () => {
  const internal = "connect ECONNREFUSED 10.0.0.1:443";
  expect(await logged(new Failure("upstream-down", "It is down.", { internal }))).toMatchObject([
    { level: "error", msg: "request failed", call: "call-1", code: "upstream-down", server: "crm", cause: internal },
  ]);
  expect(await logged(new Failure("upstream-down", "It is down."))).toEqual([]);
  expect(await logged(new Failure("unauthenticated", "No.", { internal: "no such key" }))).toEqual([]);
});
