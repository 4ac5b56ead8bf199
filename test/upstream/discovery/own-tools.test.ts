import { describe, expect, test } from "bun:test";
import type { Tool } from "../../../src/core/call.ts";
import { principal } from "../../support/principal.ts";
import { fake, type AskOptions, type Harness, jsonOf, toolCall, upstreams } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

// The tools that a server offers to one caller's instance only.

const alice = { who: principal("alice") };
const bob = { who: principal("bob") };
const schema = { inputSchema: { type: "object" } };
const define = (name: string, description = "") => ({ name, description, ...schema });

const switchOn = (set: Harness, who: AskOptions, tools: readonly object[], times = 1) =>
  set.ask("a", "switch", { tools, times }, who);
const learnt = (set: Harness, who: AskOptions) => set.learnTools(toolCall("x", {}, who), () => true);
const find = (set: Harness, name: string): Tool | undefined =>
  set.listings()[0]?.tools.find((tool) => tool.name === name);
const shownTo = (set: Harness, name: string): string[] | undefined => {
  const to = find(set, name)?.shownTo;
  return to && [...to.principals, ...to.sessions];
};

describe("R2 R112: a tool that a call switches on in its caller's instance", () => {
  test("is shown to that caller, and to another once it has it too", async () => {
    await using set = upstreams([fake("a")]);
    await set.settled();
    await switchOn(set, alice, [define("extra")]);
    expect(learnt(set, bob)).toBeNull();
    await learnt(set, alice);
    expect(shownTo(set, "extra")).toEqual(["alice"]);
    await switchOn(set, bob, [define("extra"), define("more")]);
    await learnt(set, bob);
    expect(shownTo(set, "extra")).toEqual(["alice", "bob"]);
    expect(shownTo(set, "more")).toEqual(["bob"]);
    expect(shownTo(set, "echo")).toBeUndefined();
  });

  test("is gone once it is switched off", async () => {
    await using set = upstreams([fake("a")]);
    await set.settled();
    await switchOn(set, alice, [define("extra"), define("more")]);
    await learnt(set, alice);
    await switchOn(set, alice, [define("more")]);
    await learnt(set, alice);
    expect(["extra", "more"].map((name) => shownTo(set, name))).toEqual([undefined, ["alice"]]);
  });

  test("is gone with the instance", async () => {
    await using set = upstreams([fake("a")]);
    await set.settled();
    await switchOn(set, alice, [define("extra")]);
    await learnt(set, alice);
    await set.ask("a", "crash", {}, alice).catch(() => {});
    await until(() => find(set, "extra") === undefined, "the tool to be gone");
    expect(learnt(set, alice)).toBeNull();
  });

  test("is the session's alone where the instance is", async () => {
    await using set = upstreams([fake("a", [], { isolation: "per-session" })]);
    await set.settled();
    const one = { ...alice, session: "s1" };
    await switchOn(set, one, [define("extra")]);
    expect(learnt(set, { ...alice, session: "s2" })).toBeNull();
    await learnt(set, one);
    expect(shownTo(set, "extra")).toEqual(["s1"]);
    set.endSession("s1");
    await until(() => find(set, "extra") === undefined, "the tool to be gone");
  });

  test("is shown to everybody where all share the instance", async () => {
    await using set = upstreams([fake("a", [], { isolation: "shared" })]);
    await set.settled();
    await switchOn(set, alice, [define("extra")]);
    await until(() => find(set, "extra"), "the tool");
    expect(find(set, "extra")?.shownTo).toBeUndefined();
  });

  test("is left out with a warning where another caller's instance defines it differently", async () => {
    await using set = upstreams([fake("a")]);
    await set.settled();
    await switchOn(set, alice, [define("extra")]);
    await learnt(set, alice);
    await switchOn(set, bob, [define("extra", "something else"), define("more")]);
    await learnt(set, bob);
    expect(["extra", "more"].map((name) => shownTo(set, name))).toEqual([["alice"], ["bob"]]);
    expect(set.warnings.join()).toContain("another caller's instance defines it differently");
  });

  test("does not take the place of one that everybody is shown", async () => {
    await using set = upstreams([fake("a")]);
    await set.settled();
    await switchOn(set, alice, [define("echo", "something else")]);
    await learnt(set, alice);
    expect(find(set, "echo")?.text).not.toContain("something else");
    expect(shownTo(set, "echo")).toBeUndefined();
  });
});

test("what single callers are shown is bounded, and what is beyond is said", async () => {
  await using set = upstreams([fake("a")]);
  await set.settled();
  const long = "x".repeat(1024 ** 2);
  await switchOn(set, alice, [define("one", long), define("two", long), define("three", long)]);
  await learnt(set, alice);
  await switchOn(set, bob, [define("four", long), define("five")]);
  await learnt(set, bob);
  expect(["three", "four", "five"].map((name) => shownTo(set, name))).toEqual([["alice"], undefined, ["bob"]]);
  expect(set.warnings.join()).toContain("such tools have more than 4194304 characters");
});

test("however often an instance says that its tools have changed, they are read once in a while", async () => {
  await using set = upstreams([fake("a")]);
  await set.settled();
  await switchOn(set, alice, [define("extra")], 2_000);
  await learnt(set, alice);
  expect(shownTo(set, "extra")).toEqual(["alice"]);
  // The notices came before the answer: at most one reading had begun, and one more was due.
  expect(Number(jsonOf(await set.ask("a", "count", {}, alice))["lists"])).toBeLessThanOrEqual(3);
});
