import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { sessionName } from "../../src/audit/session-name.ts";
import { recordsOf, openLog } from "../support/audit.ts";

test("R17 a session has one name, which does not reveal its id and can be used in events", async () => {
  await using opened = await openLog();
  const id = "session-id-that-lets-one-in";
  const name = sessionName({ id });
  expect(name).toBe(sessionName({ id }));
  // As scripts/docs/audit.md says.
  expect(name).toBe(createHash("sha256").update(id).digest("base64url").slice(0, 22));
  expect(name).not.toBe(sessionName({ id: `${id}2` }));
  await opened.broker.recordEvent({ type: "session.close", actor: "a", facts: { session: name, reason: "idle" } });
  expect(recordsOf(opened)[0]?.facts).toMatchObject({ session: name });
});
