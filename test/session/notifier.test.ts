import { afterEach, beforeEach, describe, expect, jest, test } from "bun:test";
import type { ClientSession, Party, Tool } from "../../src/core/call.ts";
import { type LogLevel, noCapabilities } from "../../src/core/inbound.ts";
import type { Listener, Policy } from "../../src/core/ports.ts";
import type { Notice } from "../../src/core/upstream.ts";
import { Notifier, type Shown } from "../../src/session/notifier.ts";
import { loopback, makeTool } from "../support/call.ts";
import { buildCatalog, partyOf, usual } from "../support/catalog.ts";
import { principal } from "../support/principal.ts";
import { clientSession } from "../support/session.ts";
import { until } from "../support/until.ts";

const all = new Set(["tools", "prompts", "resources"] as const);
const tools = new Set(["tools"] as const);

const sessionOf = (owner: string, id: string, logLevel: LogLevel | null = null): ClientSession => ({
  ...clientSession(id),
  owner,
  logLevel,
});

const nobody: Shown = { shown: () => "", servers: () => new Set(), hasScopeFor: () => true };

/** A notifier for lists whose fingerprints are set by the test. */
function fixture() {
  const lists: Record<string, string> = { tools: "1", prompts: "1", resources: "1" };
  const barred = new Set<string>();
  const toolsets: Record<string, string[]> = { kit: ["git", "crm"], other: ["crm"] };
  const shown: Shown = {
    shown: ({ who, scope, session }, list) =>
      `${lists[list]} ${who.id === "key:blind" ? "" : lists[`${list}+`]} ${scope} ${lists[`${list} ${session?.id}`]}`,
    servers: (scope) => new Set(scope === null ? [] : toolsets[scope]),
    hasScopeFor: (server, who) => !barred.has(`${who.id} ${server}`),
  };
  const notifier = new Notifier(() => shown);
  const told: string[] = [];
  const away = new Set<string>();
  const join = (id: string, wants: Partial<Listener> = {}, session?: ClientSession, who = principal(id)) =>
    notifier.join({
      who,
      source: loopback,
      scope: null,
      capabilities: noCapabilities,
      lists: all,
      ...wants,
      send: (method, params) => void told.push(`${session?.id ?? id} ${method}${params ?? ""}`),
      ...(session && { session, ask: () => new Promise(() => {}), here: () => !away.has(session.id) }),
    });
  return { notifier, lists, told, join, away, barred };
}

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

describe("changed lists", () => {
  test("R112: a listener of a list is notified once of all changes within a short time", () => {
    const { notifier, lists, told, join } = fixture();
    join("key:a");
    join("key:b", { lists: tools });
    join("key:c", { lists: new Set(["prompts"]) });
    for (const value of ["2", "3", "4"]) {
      lists["tools"] = value;
      notifier.changed();
      jest.advanceTimersByTime(50);
    }
    expect(told).toEqual([]);
    jest.advanceTimersByTime(250);
    expect(told).toEqual(["key:a notifications/tools/list_changed", "key:b notifications/tools/list_changed"]);
    notifier.changed();
    jest.advanceTimersByTime(300);
    expect(told).toHaveLength(2);
  });

  test("S23: many listeners are compared one after the other, and a change during that time is announced afterwards", async () => {
    jest.useRealTimers();
    let version = 1;
    const between: number[] = [];
    const told: number[] = [];
    const shown: Shown["shown"] = () => {
      for (const start = performance.now(); performance.now() < start + 5;);
      return String(version);
    };
    const notifier = new Notifier(() => ({ ...nobody, shown }));
    const listening = { lists: tools, scope: null, capabilities: noCapabilities };
    for (let at = 0; at < 20; at++)
      notifier.join({ who: principal(`key:${at}`), source: loopback, ...listening, send: () => told.push(version) });
    const others = setInterval(() => {
      between.push(told.length);
      if (told.length === 0 || version === 3) return;
      version = 3;
      notifier.changed();
    });
    version = 2;
    notifier.changed();
    await until(() => told.length >= 20 && told.slice(-20).every((each) => each === 3), "all to be told");
    clearInterval(others);
    expect(between.filter((many) => many > 0 && many < 20).length).toBeGreaterThan(3);
  });

  test("S23: an announced change is not compared again until the next change", () => {
    let compared = 0;
    const shown: Shown["shown"] = () => String(compared++);
    const notifier = new Notifier(() => ({ ...nobody, shown }));
    const told: string[] = [];
    const send = (method: string): void => void told.push(method);
    notifier.join({
      who: principal("key:a"),
      source: loopback,
      lists: tools,
      scope: null,
      capabilities: noCapabilities,
      send,
    });
    notifier.changed();
    jest.advanceTimersByTime(300);
    expect(told).toHaveLength(1);
    const before = compared;
    jest.advanceTimersByTime(60_000);
    expect([compared, told.length]).toEqual([before, 1]);
  });

  test("a caller is not notified of a change that its rights hide or that is reverted at once", () => {
    const { notifier, lists, told, join } = fixture();
    join("key:blind");
    join("key:a");
    lists["tools+"] = "more";
    notifier.changed();
    jest.advanceTimersByTime(300);
    expect(told).toEqual(["key:a notifications/tools/list_changed"]);
    lists["tools"] = "2";
    notifier.changed();
    lists["tools"] = "1";
    jest.advanceTimersByTime(300);
    expect(told).toHaveLength(1);
  });

  test("a listener that has left or lost its key is not notified", () => {
    const { notifier, lists, told, join } = fixture();
    const leave = join("key:a");
    const who = principal("key:b");
    join("key:b", {}, undefined, who);
    leave();
    who.revoke();
    lists["tools"] = "2";
    notifier.changed();
    jest.advanceTimersByTime(300);
    expect([told, notifier.size]).toEqual([[], 1]);
  });

  test("a session that comes back is notified of changes made while it was away, and of nothing else", () => {
    const { notifier, lists, told, join } = fixture();
    const session = sessionOf("key:a", "a1");
    join("key:a", {}, session)();
    lists["prompts"] = "2";
    notifier.changed();
    jest.advanceTimersByTime(300);
    expect(told).toEqual([]);
    const leave = join("key:a", {}, session);
    jest.advanceTimersByTime(300);
    expect(told.splice(0)).toEqual(["a1 notifications/prompts/list_changed"]);
    leave();
    join("key:a", {}, session);
    jest.advanceTimersByTime(300);
    expect(told).toEqual([]);
  });

  test("T27: comparing thousands of sessions of one caller costs as much as one, and the number of listeners is limited", () => {
    let decided = 0;
    const lists: Policy["lists"] = (...of) => (decided++, usual.lists(...of));
    const catalogOf = (tool: string) => buildCatalog({ crm: { tools: [tool] } }, { policy: { ...usual, lists } });
    let catalog = catalogOf("one");
    const notifier = new Notifier(() => catalog);
    const who = principal("key:a", ["admin"]);
    let told = 0;
    const listener = { who, source: loopback, scope: null, capabilities: noCapabilities, lists: tools };
    const join = () => notifier.join({ ...listener, send: () => void told++ });
    for (let i = 0; i < 20_000; i++) join();
    expect(join).toThrow("20000 listener slots");
    catalog = catalogOf("two");
    notifier.changed();
    jest.advanceTimersByTime(300);
    expect([told, decided]).toEqual([20_000, 2]);
  });
});

describe("notifications that servers send outside any exchange", () => {
  const notice = (method: string, params: unknown, more: Partial<Notice> = {}): Notice => ({
    server: "git",
    method: `notifications/${method}`,
    params: JSON.stringify(params),
    owner: "key:a",
    session: null,
    ...more,
  });

  test("D16: the client of a session can be asked while it listens and its key is valid", () => {
    const { notifier, join } = fixture();
    const who = principal("key:a");
    const session = sessionOf("key:a", "a1");
    const leave = join("key:a", {}, session, who);
    join("key:a");
    expect(notifier.reach("a1")).toEqual({ who, source: loopback, session, ask: expect.any(Function) });
    expect(notifier.reach("a2")).toBeNull();
    who.revoke();
    expect(notifier.reach("a1")).toBeNull();
    leave();
    const again = join("key:a", {}, session);
    expect(notifier.reach("a1")).not.toBeNull();
    again();
    expect(notifier.reach("a1")).toBeNull();
  });

  test("S20: a notification reaches only the session or the owner that the sending instance belongs to", () => {
    const { notifier, told, join } = fixture();
    join("key:a", {}, sessionOf("key:a", "a1"));
    join("key:a", {}, sessionOf("key:a", "a2"));
    join("key:a", {}, sessionOf("key:a", "left"))();
    join("key:b", {}, sessionOf("key:b", "b1"));
    join("key:a");
    const complete = (more: Partial<Notice>) =>
      notifier.notice(notice("elicitation/complete", { elicitationId: "e" }, more));
    complete({ session: "a2" });
    expect(told.splice(0)).toEqual(['a2 notifications/elicitation/complete{"elicitationId":"e"}']);
    complete({});
    expect(told.splice(0).map((one) => one.slice(0, 2))).toEqual(["a1", "a2"]);
    complete({ owner: null });
    complete({ owner: null, session: "gone" });
    complete({ owner: "key:c" });
    expect(told).toEqual([]);
  });

  test("R23 revoke: a caller whose key is revoked receives nothing, even if its stream is still open", () => {
    const { notifier, told, join } = fixture();
    const who = principal("key:a");
    join("key:a", {}, sessionOf("key:a", "a1"), who);
    who.revoke();
    notifier.notice(notice("elicitation/complete", { elicitationId: "e" }));
    notifier.notice(notice("elicitation/complete", { elicitationId: "e" }, { session: "a1" }));
    expect(told).toEqual([]);
  });

  test("R2: a caller without rights on a server receives nothing from it, even if its instance is still running", () => {
    const { notifier, told, join, barred } = fixture();
    join("key:a", {}, sessionOf("key:a", "a1"));
    const tell = (more: Partial<Notice>): void => notifier.notice(notice("message", { level: "error" }, more));
    barred.add("key:a git");
    for (const more of [{}, { session: "a1" }]) tell(more);
    expect(told).toEqual([]);
    tell({ server: "crm" });
    barred.clear();
    tell({ session: "a1" });
    expect(told).toHaveLength(2);
  });

  test("log messages are filtered by the level of each session", () => {
    const { notifier, told, join } = fixture();
    join("key:a", {}, sessionOf("key:a", "all"));
    join("key:a", {}, sessionOf("key:a", "debug", "debug"));
    join("key:a", {}, sessionOf("key:a", "error", "error"));
    for (const level of ["debug", "error", "emergency", "shouting", 5]) {
      notifier.notice(notice("message", { level, data: 1 }));
    }
    const got = (id: string) => told.filter((one) => one.startsWith(`${id} `)).length;
    expect([got("all"), got("debug"), got("error")]).toEqual([5, 3, 2]);
  });

  test("extension notifications reach only sessions whose client declared an extension; task notifications reach no session", () => {
    const { notifier, told, join } = fixture();
    const capabilities = (value: Record<string, unknown>) => ({ capabilities: { text: JSON.stringify(value), value } });
    join("key:a", {}, { ...sessionOf("key:a", "knows"), ...capabilities({ extensions: { "com.acme/acme": {} } }) });
    join("key:a", {}, { ...sessionOf("key:a", "empty"), ...capabilities({ extensions: {} }) });
    join("key:a", {}, sessionOf("key:a", "not"));
    for (const method of ["acme/said", "tasks", "tasks/status", "tools/list_changed"]) {
      notifier.notice(notice(method, { n: 1 }));
    }
    expect(told).toEqual(['knows notifications/acme/said{"n":1}']);
  });

  test("a session of another endpoint receives nothing from the server, and unknown notifications are dropped", () => {
    const { notifier, told, join } = fixture();
    join("key:a", { scope: "docs" }, sessionOf("key:a", "docs"));
    join("key:a", { scope: "git" }, sessionOf("key:a", "git"));
    // A toolset that contains entries of the server, and one that does not.
    join("key:a", { scope: "kit" }, sessionOf("key:a", "kit"));
    join("key:a", { scope: "other" }, sessionOf("key:a", "other"));
    notifier.notice(notice("message", { level: "error" }));
    notifier.notice(notice("roots/list_changed", {}));
    notifier.notice(notice("made/up", {}));
    notifier.notice(notice("resources/updated", { uri: "file:///a" }));
    notifier.notice({ ...notice("message", {}), params: "{broken" });
    expect(told.map((one) => one.split(" ")[0])).toEqual(["git", "kit", "git", "kit"]);
  });

  test("FIELD T46: notifications for a session that is away are kept; it is asked nothing and learns of changed lists when it is back", () => {
    const { notifier, lists, told, join, away } = fixture();
    const session = sessionOf("key:a", "a1");
    const leave = join("key:a", {}, session);
    away.add("a1");
    notifier.notify(session, "notifications/resources/updated", '{"uri":"x"}');
    notifier.notice(notice("elicitation/complete", {}));
    lists["tools"] = "2";
    notifier.changed();
    jest.advanceTimersByTime(300);
    expect(notifier.reach("a1")).toBeNull();
    expect(told.splice(0)).toEqual([
      'a1 notifications/resources/updated{"uri":"x"}',
      "a1 notifications/elicitation/complete{}",
    ]);
    away.clear();
    leave();
    join("key:a", {}, session);
    jest.advanceTimersByTime(300);
    expect(told).toEqual(["a1 notifications/tools/list_changed"]);
  });

  test("only readers that read the list in between are notified when a change is reverted", () => {
    const { notifier, lists, told, join } = fixture();
    const session = sessionOf("key:a", "a1");
    const who = principal("key:m");
    join("key:a", {}, session);
    join("key:a", {}, sessionOf("key:a", "a2"));
    join("key:m", {}, undefined, who);
    // The same principal with other kinds of clients, which have not read the list.
    join("key:m", { scope: "kit" }, undefined, who);
    join("key:m", { capabilities: { text: '{"roots":{}}', value: { roots: {} } } }, undefined, who);
    join("key:n");
    lists["tools"] = "2";
    notifier.changed();
    const reader = { ...partyOf(principal("key:a")), session };
    notifier.served(reader, "tools");
    notifier.served(partyOf(who), "tools");
    lists["tools"] = "1";
    notifier.changed();
    jest.advanceTimersByTime(300);
    expect(told.splice(0).toSorted()).toEqual([
      "a1 notifications/tools/list_changed",
      "key:m notifications/tools/list_changed",
    ]);
    notifier.served(reader, "tools");
    notifier.changed();
    jest.advanceTimersByTime(300);
    expect(told).toEqual([]);
  });

  test("only the session that has tools of its own is notified when they change", () => {
    const { notifier, lists, told, join } = fixture();
    join("key:a", {}, sessionOf("key:a", "a1"));
    join("key:a", {}, sessionOf("key:a", "a2"));
    for (const own of ["1", "2"]) {
      lists["tools a1"] = own;
      notifier.changed();
      jest.advanceTimersByTime(300);
    }
    expect(told).toEqual(Array(2).fill("a1 notifications/tools/list_changed"));
  });

  test("a tool offered first by a session's own instance and then to everyone is announced to that session once", () => {
    let own: readonly Tool[] = [];
    const callerTools = ({ session }: Party) => new Map(session?.id === "a1" && own.length > 0 ? [["crm", own]] : []);
    const catalogOf = (...names: string[]) => buildCatalog({ crm: { tools: names } }, { callerTools });
    let catalog = catalogOf("one");
    const notifier = new Notifier(() => catalog);
    const told: string[] = [];
    const listener = { source: loopback, scope: null, capabilities: noCapabilities, lists: tools };
    for (const id of ["a1", "a2"]) {
      const session = sessionOf("key:a", id);
      const send = (): void => void told.push(id);
      const ask = () => new Promise<never>(() => {});
      notifier.join({ ...listener, who: principal("key:a", ["admin"]), send, session, ask });
    }
    own = [makeTool("two")];
    notifier.changed();
    jest.advanceTimersByTime(300);
    expect(told.splice(0)).toEqual(["a1"]);
    catalog = catalogOf("one", "two");
    notifier.changed();
    jest.advanceTimersByTime(300);
    expect(told).toEqual(["a2"]);
  });

  test("a notification can be sent to a single session", () => {
    const { notifier, told, join } = fixture();
    const session = sessionOf("key:a", "a1");
    const before = join("key:a", {}, session);
    const who = principal("key:a");
    const leave = join("key:a", {}, session, who);
    // The session's newer stream stays.
    before();
    join("key:a", {}, sessionOf("key:a", "a2"));
    const tell = (uri: string) => notifier.notify(session, "notifications/resources/updated", JSON.stringify({ uri }));
    tell("x");
    who.revoke();
    tell("revoked");
    leave();
    tell("y");
    expect(told).toEqual(['a1 notifications/resources/updated{"uri":"x"}']);
  });
});
