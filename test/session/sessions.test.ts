import { describe, expect, test } from "bun:test";
import { Sessions, type SessionEnd } from "../../src/session/sessions.ts";
import { principal, stillClock } from "../support/principal.ts";

function fixture(limits = { total: 100, perOwner: 10, idle: 1_000 }) {
  const clock = stillClock();
  const ended: [string, SessionEnd][] = [];
  const sessions = new Sessions({ clock, limits, onEnd: (session, why) => ended.push([session.id, why]) });
  return { clock, ended, sessions };
}

describe("sessions", () => {
  test("S08: an id carries 256 random bits and belongs to its principal", () => {
    const { sessions } = fixture();
    const session = sessions.open(principal("key:a"), "2025-06-18");
    expect(Buffer.from(session.id, "base64url").length).toBe(32);
    expect(session.owner).toBe("key:a");
    expect(sessions.get(session.id)).toBe(session);
    expect(sessions.get("unknown")).toBeNull();
  });

  test("S25: 100,000 initialize of one principal keep at most its share, the oldest end", () => {
    const { sessions, ended } = fixture();
    const who = principal();
    for (let i = 0; i < 100_000; i++) sessions.open(who, "2025-06-18");
    expect(sessions.size).toBe(10);
    expect(ended.length).toBe(99_990);
    expect(ended[0]?.[1]).toBe("replaced");
  });

  test("S25: when all places are taken by others, opening is refused as overloaded", () => {
    const { sessions } = fixture({ total: 3, perOwner: 2, idle: 1_000 });
    for (const id of ["key:a", "key:b", "key:c"]) sessions.open(principal(id), "2025-06-18");
    expect(() => sessions.open(principal("key:d"), "2025-06-18")).toThrow("All 3 sessions are in use");
  });

  test("idle sessions expire, used ones and open streams stay", () => {
    const { sessions, clock, ended } = fixture();
    const who = principal();
    const idle = sessions.open(who, "2025-06-18");
    const streaming = sessions.open(who, "2025-06-18");
    const used = sessions.open(who, "2025-06-18");
    streaming.sink = { send() {}, close() {} };
    clock.advance(900);
    sessions.get(used.id);
    clock.advance(200);
    sessions.sweep();
    expect(ended).toEqual([[idle.id, "idle"]]);
    expect(sessions.size).toBe(2);
  });

  test("R23 revoke: the sessions of a revoked key end at once and their streams close", () => {
    const { sessions, ended } = fixture();
    const who = principal();
    const session = sessions.open(who, "2025-06-18");
    let closed = false;
    session.sink = { send() {}, close: () => void (closed = true) };
    who.revoke();
    expect(ended).toEqual([[session.id, "revoked"]]);
    expect(closed).toBe(true);
    expect(sessions.get(session.id)).toBeNull();
  });

  test("a message outside any call reaches each open stream once", () => {
    const { sessions } = fixture();
    const got: string[] = [];
    for (const id of ["key:a", "key:b"]) {
      sessions.open(principal(id), "2025-06-18").sink = { send: (m) => got.push(`${id} ${m}`), close() {} };
    }
    sessions.open(principal("key:c"), "2025-06-18");
    sessions.broadcast("changed");
    expect(got).toEqual(["key:a changed", "key:b changed"]);
  });
});
