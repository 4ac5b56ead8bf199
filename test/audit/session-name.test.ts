import { expect, test } from "bun:test";
import { readRecord } from "../../src/audit/record.ts";
import { sessionName } from "../../src/audit/session-name.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { openBroker, tempState } from "./support.ts";

test("R17 a session has one name, which does not give its id away, and an event can carry it", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  const id = "session-id-that-lets-one-in";
  const name = sessionName({ id });
  expect(name).toBe(sessionName({ id }));
  expect(name).toMatch(/^[\w-]{22}$/);
  expect(name).not.toBe(sessionName({ id: `${id}2` }));
  await opened.broker.recordEvent({ type: "session.close", actor: "a", facts: { session: name, reason: "idle" } });
  const reader = openReader(at.state);
  const [row] = reader.page("main", 1, 1);
  reader.close();
  expect(readRecord(row?.rec ?? "").facts).toMatchObject({ session: name });
});
