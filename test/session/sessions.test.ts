import { describe, expect, test } from "bun:test";
import { Cancel } from "../../src/core/cancel.ts";
import { Sessions, type SessionEnd, type SessionLimits } from "../../src/session/sessions.ts";
import type { Reader } from "../../src/session/streams.ts";
import { Traffic } from "../../src/session/traffic.ts";
import { failureOf, reasonOf } from "../support/failure.ts";
import { principal, stillClock } from "../support/principal.ts";
import { until } from "../support/until.ts";

const opening = { revision: "2025-06-18", scope: null } as const;
/** The client side of an open stream. */
const reader = (close = (): void => {}): Reader => ({ write: () => {}, close });

function fixture(limits: Partial<SessionLimits> = { total: 100, perOwner: 10, idle: 1_000, perMinute: Infinity }) {
  const clock = stillClock();
  const traffic = new Traffic();
  const ended: [string, SessionEnd][] = [];
  const sessions = new Sessions({ clock, limits, traffic, onEnd: (session, why) => ended.push([session.id, why]) });
  return { clock, ended, sessions, traffic };
}

describe("sessions", () => {
  test("S08: a session id has 256 random bits and belongs to one principal and one endpoint", () => {
    const { sessions } = fixture();
    const who = { ...principal("key:a"), consumerId: "agent-a" };
    const session = sessions.open(who, { ...opening, scope: "git" });
    expect(Buffer.from(session.id, "base64url").length).toBe(32);
    expect([session.owner, session.consumer]).toEqual(["key:a", "agent-a"]);
    expect(sessions.find(session.id, "key:a", "git")).toBe(session);
    expect(sessions.find("unknown", "key:a", "git")).toBeNull();
    expect(sessions.find(session.id, "key:b", "git")).toBeNull();
    expect(sessions.find(session.id, "key:a", null)).toBeNull();
    expect(sessions.find(session.id, "key:a", "docs")).toBeNull();
  });

  test("S25: an ended session is not kept in memory while its key is valid", async () => {
    const { sessions } = fixture();
    const who = principal();
    const held = Array.from({ length: 20 }, () => {
      const session = sessions.open(who, opening);
      const { outside } = session.streams;
      outside.write("news", false);
      const read = session.streams.open();
      read.readBy(reader());
      read.end("the answer", 0);
      return [session, outside, read].map((one) => new WeakRef<object>(one));
    }).flat();
    sessions.endAll("idle");
    await until(() => {
      Bun.gc(true);
      // The stack may still refer to the last ones.
      return held.filter((one) => one.deref() !== undefined).length < 8;
    }, "the ended sessions to be collected");
    who.revoke();
  });

  test("an ended session is no longer counted, and its client is neither notified nor asked", async () => {
    const { sessions, traffic } = fixture();
    const session = sessions.open(principal(), opening);
    expect(traffic.sessions).toBe(1);
    let told = true;
    session.leave = () => (told = false);
    sessions.end(session, "deleted");
    expect([traffic.sessions, told]).toEqual([0, false]);
    const sent: string[] = [];
    const question = { method: "roots/list", params: "{}" } as const;
    const asked = session.questions.ask(question, new AbortController().signal, (message) => void sent.push(message));
    expect(await reasonOf(asked)).toMatchObject({ code: "cancelled" });
    expect(sent).toEqual([]);
  });

  test("a session keeps what initialize declared and the log level that was set", () => {
    const { sessions } = fixture();
    const capabilities = { text: '{"roots":{}}', value: { roots: {} } };
    const session = sessions.open(principal(), { ...opening, capabilities });
    expect(session.capabilities).toBe(capabilities);
    expect(session.logLevel).toBeNull();
    session.logLevel = "error";
    expect(sessions.find(session.id, session.owner, null)?.logLevel).toBe("error");
  });

  test("S25: an owner that opens more than 6,000 sessions per minute is told when to retry; others are not affected", () => {
    const { sessions, clock } = fixture({ total: 10_000, perOwner: 10_000, idle: 3_600_000 });
    const [fast, other] = [principal("key:fast"), principal("key:other")];
    for (let i = 0; i < 6_000; i++) sessions.open(fast, opening);
    clock.advance(20_000);
    const refused = failureOf(() => sessions.open(fast, opening));
    expect(refused).toMatchObject({ code: "overloaded", detail: { retryAfterMs: 40_000 } });
    sessions.open(other, opening);
    clock.advance(40_000);
    sessions.open(fast, opening);
    expect(sessions.size).toBe(6_002);
  });

  test("S25: after 100,000 initialize requests a principal has only its share of sessions; the oldest have ended", () => {
    const { sessions, ended } = fixture();
    const who = principal();
    for (let i = 0; i < 100_000; i++) sessions.open(who, opening);
    expect(sessions.size).toBe(10);
    expect(ended.length).toBe(99_990);
    expect(ended[0]?.[1]).toBe("replaced");
  });

  test("S25: an owner above its share loses idle sessions first, and sessions with a running call or an open stream last", () => {
    const { sessions, ended, clock } = fixture({ total: 100, perOwner: 3, idle: 60_000 });
    // Other owners lose no session, however long it has been idle.
    sessions.open(principal("key:other"), opening);
    const who = principal();
    const [calling, streaming, idle] = [1, 2, 3].map(() => sessions.open(who, opening));
    calling?.calls.began("1", new AbortController());
    streaming?.streams.outside.readBy(reader());
    clock.advance(10_000);
    const next = sessions.open(who, opening);
    expect(ended).toEqual([[idle?.id ?? "", "replaced"]]);
    next.calls.began("2", new AbortController());
    sessions.open(who, opening);
    expect(ended[1]).toEqual([calling?.id ?? "", "replaced"]);
  });

  test("S25: if all other sessions are in use, a new one has 10 s to begin a call or open its stream", () => {
    const { sessions, ended, clock } = fixture({ total: 100, perOwner: 2, idle: 60_000 });
    const who = principal();
    const streaming = [1, 2].map(() => sessions.open(who, opening));
    for (const session of streaming) session.streams.outside.readBy(reader());
    const newcomers = [1, 2].map(() => (clock.advance(4_000), sessions.open(who, opening)));
    expect(ended.map(([id]) => id)).toEqual(streaming.map(({ id }) => id));
    for (const session of newcomers) session.streams.outside.readBy(reader());
    const quiet = sessions.open(who, opening);
    clock.advance(10_000);
    sessions.open(who, opening);
    expect(ended.slice(2).map(([id]) => id)).toEqual([newcomers[0]?.id ?? "", quiet.id]);
  });

  test("S25: a burst of new sessions replaces sessions of the burst, not one with a running call", () => {
    const { sessions, ended } = fixture({ total: 100, perOwner: 50, idle: 60_000 });
    const who = principal();
    const calling = sessions.open(who, opening);
    calling.calls.began("1", new AbortController());
    for (let i = 0; i < 200; i++) sessions.open(who, opening);
    expect(ended.length).toBe(151);
    expect(ended.map(([id]) => id)).not.toContain(calling.id);
  });

  test("S25, FIELD T48: if other owners use all sessions, opening one is refused as overloaded", () => {
    const { sessions } = fixture({ total: 3, perOwner: 2, idle: 1_000 });
    for (const id of ["key:a", "key:b", "key:c"]) sessions.open(principal(id), opening);
    expect(() => sessions.open(principal("key:d"), opening)).toThrow("All 3 sessions are in use");
  });

  test("S25, FIELD T49: 10,000 sessions do not replace one another, and each ends after half an hour without use", () => {
    const { sessions, clock, ended } = fixture({});
    for (let i = 0; i < 10_000; i++) sessions.open(principal(`key:${i % 10}`), opening);
    expect([sessions.size, ended.length]).toEqual([10_000, 0]);
    expect(() => sessions.open(principal("key:new"), opening)).toThrow("All 10000 sessions are in use");
    clock.advance(29 * 60_000);
    sessions.sweep();
    expect(sessions.size).toBe(10_000);
    clock.advance(60_000);
    sessions.sweep();
    expect(new Set(ended.map(([, why]) => why))).toEqual(new Set(["idle"]));
    expect(ended.length).toBe(10_000);
  });

  test("T27: opening a session checks no other session until the total limit is reached", () => {
    const { sessions, clock, ended } = fixture({ total: 2, perOwner: 2, idle: 1_000 });
    const idle = sessions.open(principal("key:a"), opening);
    clock.advance(2_000);
    sessions.open(principal("key:b"), opening);
    expect(ended).toEqual([]);
    sessions.open(principal("key:c"), opening);
    expect(ended).toEqual([[idle.id, "idle"]]);
  });

  test("FIELD T48: idle sessions expire; recently used ones and those with an open stream or a running call stay", () => {
    const { sessions, clock, ended } = fixture();
    const who = principal();
    const idle = sessions.open(who, opening);
    const streaming = sessions.open(who, opening);
    const calling = sessions.open(who, opening);
    const used = sessions.open(who, opening);
    const call = new AbortController();
    streaming.streams.outside.readBy(reader());
    const begun = calling.calls.began("1", call);
    clock.advance(900);
    sessions.find(used.id, used.owner, null);
    clock.advance(200);
    sessions.sweep();
    expect(ended).toEqual([[idle.id, "idle"]]);
    calling.calls.finished(begun);
    sessions.sweep();
    expect(ended).toHaveLength(2);
    expect(sessions.size).toBe(2);
  });

  test("FIELD T43: a replaced reader that leaves does not end the stream; a stream without a reader counts as ended", () => {
    const { sessions, clock } = fixture({ total: 100, perOwner: 2, idle: 3_600_000 });
    const session = sessions.open(principal(), opening);
    const { outside } = session.streams;
    const got: string[] = [];
    const [first, second] = [reader(), { ...reader(), write: (event: string) => void got.push(event) }];
    session.streams.outside.readBy(first);
    session.streams.outside.readBy(second);
    outside.leave(first, clock.mono());
    outside.write("heard", false);
    expect([got.length, session.busy, outside.isOver(Infinity)]).toEqual([1, true, false]);
    outside.leave(second, clock.mono());
    outside.write("kept", false);
    expect([got.length, session.busy, outside.isOver(Infinity)]).toEqual([1, false, true]);
    session.streams.outside.readBy(second, 1);
    outside.write("heard", false);
    expect([got.length, session.busy, outside.isOver(Infinity)]).toEqual([3, true, false]);
  });

  test("R23 revoke: the sessions of a revoked key end at once, along with their streams, calls and questions", async () => {
    const { sessions, ended } = fixture();
    const who = principal();
    const session = sessions.open(who, opening);
    const other = sessions.open(principal("key:other"), opening);
    let closed = false;
    let unsubscribed = false;
    const call = new AbortController();
    session.streams.outside.readBy(reader(() => void (closed = true)));
    session.calls.began("1", call);
    session.keepSubscription("file:///a", "crm:file:///a", () => void (unsubscribed = true));
    const asked = session.questions.ask({ method: "roots/list", params: "{}" }, new AbortController().signal, () => {});
    who.revoke();
    expect(ended).toEqual([[session.id, "revoked"]]);
    expect([closed, unsubscribed, call.signal.aborted]).toEqual([true, true, true]);
    expect(await reasonOf(asked)).toMatchObject({ code: "cancelled" });
    expect(sessions.find(session.id, session.owner, null)).toBeNull();
    expect(sessions.find(other.id, other.owner, null)).toBe(other);
  });

  test("R23 revoke: a session opened for a key that has just been revoked ends at once", () => {
    const { sessions, ended } = fixture();
    const who = principal();
    who.revoke();
    const session = sessions.open(who, opening);
    expect(ended).toEqual([[session.id, "revoked"]]);
    expect(sessions.find(session.id, session.owner, null)).toBeNull();
  });

  test("S25: an ended session no longer counts against its owner", () => {
    const { sessions, ended } = fixture({ total: 100, perOwner: 2, idle: 1_000 });
    const who = principal();
    for (let i = 0; i < 5; i++) sessions.end(sessions.open(who, opening), "deleted");
    for (let i = 0; i < 2; i++) sessions.open(who, opening);
    expect([sessions.size, new Set(ended.map(([, why]) => why))]).toEqual([2, new Set(["deleted"])]);
  });

  test("FIELD T48: a used session does not keep a newer idle one alive and is not replaced first", () => {
    const { sessions, clock, ended } = fixture({ total: 100, perOwner: 2, idle: 1_000 });
    const who = principal();
    const [used, idle] = [sessions.open(who, opening), sessions.open(who, opening)];
    clock.advance(900);
    sessions.find(used.id, used.owner, null);
    clock.advance(200);
    sessions.sweep();
    expect(ended).toEqual([[idle.id, "idle"]]);
    const newer = sessions.open(who, opening);
    clock.advance(100);
    sessions.find(used.id, used.owner, null);
    sessions.open(who, opening);
    expect(ended[1]).toEqual([newer.id, "replaced"]);
  });

  test("FIELD T48: a sweep forgets streams that no client came back to", () => {
    const { sessions, clock } = fixture({ total: 100, perOwner: 2, idle: 3_600_000 });
    const { streams } = sessions.open(principal(), opening);
    streams.open().end("the answer", clock.mono());
    clock.advance(300_000);
    sessions.sweep();
    expect(streams.find("1-0")).not.toBeNull();
    clock.advance(1);
    sessions.sweep();
    expect(streams.find("1-0")).toBeNull();
  });

  test("the calls of a replaced session get the reason; those of a session that its client ends get none", () => {
    const reasons = (["replaced", "deleted"] as const).map((why) => {
      const { sessions } = fixture();
      const session = sessions.open(principal(), opening);
      const running = new Cancel();
      session.calls.began("1", running);
      sessions.end(session, why);
      return [running.aborted, running.reason];
    });
    expect(reasons).toEqual([
      [true, "The session was replaced by a newer one of the same key."],
      [true, undefined],
    ]);
  });

  test("a session ends only once", () => {
    const { sessions, ended, traffic } = fixture();
    const session = sessions.open(principal(), opening);
    sessions.end(session, "deleted");
    sessions.end(session, "idle");
    sessions.endAll("shutdown");
    session.end();
    expect(ended).toEqual([[session.id, "deleted"]]);
    expect(traffic.sessions).toBe(0);
  });

  test("a subscription ends once: when it is replaced, on request, or with its session, even if it comes after that", () => {
    const { sessions } = fixture();
    const session = sessions.open(principal(), opening);
    const ends: string[] = [];
    const keep = (uri: string, name: string) => session.keepSubscription(uri, `crm:${uri}`, () => void ends.push(name));
    keep("a:", "first");
    keep("a:", "second");
    keep("b:", "other");
    expect([ends.splice(0), session.subscribedTo("a:")]).toEqual([["first"], "crm:a:"]);
    session.endSubscription("a:");
    session.endSubscription("a:");
    expect([ends.splice(0), session.subscribedTo("a:")]).toEqual([["second"], null]);
    sessions.end(session, "idle");
    keep("c:", "late");
    expect(ends).toEqual(["other", "late"]);
  });
});
