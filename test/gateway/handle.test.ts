import { describe, expect, test } from "bun:test";
import type { Reply } from "../../src/core/call.ts";
import { Failure } from "../../src/core/failure.ts";
import { refuse } from "../../src/gateway/conclude.ts";
import { handle } from "../../src/gateway/handle.ts";
import { createLimits, createLimitsState } from "../../src/limits/limits.ts";
import { limitsOptions } from "../../src/limits/options.ts";
import { faultyStore, handClock, openBroker, recordsOf, tempState } from "../support/audit.ts";
import { makeTool } from "../support/call.ts";
import { principal } from "../support/principal.ts";
import { until } from "../support/until.ts";
import { fake, upstreams } from "../support/upstream.ts";
import { asksByResult, call, form } from "./ask.ts";
import { alice, type Asking, bob, harness, type Harness, ok, request, send, session, types } from "./support.ts";

const called = (h: Harness, asking: Asking = {}) => send(h.gw, "tools/call", call, asking);

/** Returns a server that works until the test lets it answer. */
function working() {
  const begun = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<Reply>();
  const h = harness({ script: () => (begun.resolve(), answer.promise) });
  return { h, begun: begun.promise, answer };
}

/** Returns a gateway whose servers are not known yet. */
function starting() {
  const h = harness();
  const { promise: settled, resolve: boot } = Promise.withResolvers<void>();
  return { h, boot, gw: { ...h.gw, settled, catalog: { ...h.gw.catalog, offers: () => false } } };
}

const strict = { ...makeTool("get"), inputSchema: { type: "object", required: ["id"] } };
const cancelled = (): Failure => new Failure("cancelled", "The call was cancelled.");

describe.each([
  ["a call whose caller cannot be asked", {}],
  ["a call whose caller is asked in rounds", { capabilities: { elicitation: {} } }],
] as [string, Asking][])("the end of %s", (_whose, asking) => {
  test("must be recorded, or the result is withheld", async () => {
    const h = harness({ script: () => ok('{"content":[{"type":"text","text":"secret"}]}') });
    h.failing.on = "call.end";
    const { error, call: ended } = await called(h, asking);
    expect(error).toMatchObject({ code: -32603, data: { retryable: true } });
    expect([ended.reply, h.sent.length]).toEqual([null, 1]);
  });

  test("is answered even if it cannot be counted", async () => {
    const h = harness();
    Object.assign(h.gw, { metrics: null });
    expect((await called(h, asking)).error.code).toBe(-32603);
  });

  test("is recorded if its begin is, even if the begin is not synced in time", async () => {
    const h = harness();
    const { begin } = h.gw.audit;
    const late = async (each: Parameters<typeof begin>[0]) => {
      await begin(each);
      throw new Failure("audit-unavailable", "The disk does not answer.");
    };
    Object.assign(h.gw.audit, { begin: late });
    expect((await called(h, asking)).error).toMatchObject({ code: -32603, data: { retryable: true } });
    expect(types(h.records)).toEqual(["call.begin", "call.end"]);
    expect(h.sent).toEqual([]);
  });

  test("reports that it did not run if its begin was not synced in time, even if that cannot be recorded", async () => {
    using at = tempState();
    const [clock, disk] = [handClock(), faultyStore(at)];
    await using opened = await openBroker(at, { durability: "standard" }, { store: disk.store, clock });
    const held = Promise.withResolvers<void>();
    const hangs = Promise.withResolvers<void>();
    disk.sync = (real) => (hangs.resolve(), held.promise.then(real));
    const h = harness();
    const ending = send({ ...h.gw, audit: opened.broker }, "tools/call", call, asking);
    await hangs.promise;
    clock.advance(6_000_000);
    const { error } = await ending;
    expect([error.message, error.data?.retryable]).toEqual([expect.stringContaining("The call did not run."), true]);
    disk.sync = null;
    held.resolve();
    await until(() => opened.broker.health().ok, "recovery");
    await opened.close();
    expect(h.sent).toEqual([]);
    expect(recordsOf(at).flatMap(({ type }) => (type.startsWith("call.") ? [type] : []))).toEqual([
      "call.begin",
      "call.lost",
    ]);
  });

  test("leaves nothing that a later revocation would abort", async () => {
    const who = principal("key:carol", ["reader"]);
    const h = harness();
    await called(h, { ...asking, who });
    who.revoke();
    expect(h.records.map(({ call: { controller } }) => controller.signal.aborted)).toEqual([false, false]);
  });

  test("may come while its begin is recorded", async () => {
    const controller = new AbortController();
    const h = harness({
      script(running) {
        if (running.controller.signal.aborted) throw cancelled();
        return ok();
      },
    });
    const { begin } = h.gw.audit;
    Object.assign(h.gw.audit, { begin: (each: Parameters<typeof begin>[0]) => (controller.abort(), begin(each)) });
    expect((await called(h, { ...asking, controller })).call.failure?.code).toBe("cancelled");
  });

  test("by the gateway is reported to its caller with the reason", async () => {
    const { h, begun, answer } = working();
    const controller = new AbortController();
    const ending = called(h, { ...asking, controller });
    await begun;
    controller.abort("The gateway stops.");
    answer.reject(cancelled());
    const { failure } = (await ending).call;
    expect([failure?.code, failure?.detail.ran]).toEqual(["lost", "maybe"]);
    expect(failure?.message).toStartWith("The gateway stops.");
  });

  test("by a revoked key is reported to its caller, and that it may have run", async () => {
    const { h, begun, answer } = working();
    const who = principal("key:carol", ["reader"]);
    const ending = called(h, { ...asking, who });
    await begun;
    who.revoke();
    answer.reject(cancelled());
    const { failure } = (await ending).call;
    expect([failure?.code, failure?.detail.ran]).toEqual(["rights-lost", "maybe"]);
    expect(failure?.message).toContain("while the call ran");
  });

  test("replaces the reply if the key is revoked while the end is recorded", async () => {
    const h = harness();
    const who = principal("key:carol", ["reader"]);
    const { end } = h.gw.audit;
    Object.assign(h.gw.audit, { end: (each: Parameters<typeof end>[0]) => (who.revoke(), end(each)) });
    const { failure, reply } = (await called(h, { ...asking, who })).call;
    expect([failure?.code, failure?.detail.ran, reply]).toEqual(["rights-lost", "maybe", null]);
    expect(types(h.records)).toEqual(["call.begin", "call.end"]);
  });
});

test.each([{}, { capabilities: { elicitation: {} } }, { era: "legacy" }] as Asking[])(
  "a call still runs at a server that a reload removes while its begin is recorded (%j)",
  async (asking) => {
    const old = upstreams([fake("crm")]);
    await old.settled();
    const h = harness({ servers: { crm: { tools: [makeTool("echo")], capabilities: { tools: {} } } } });
    const reloaded: ReturnType<typeof upstreams>[] = [];
    const begin: typeof h.gw.audit.begin = async (each) => {
      const next = upstreams([], { previous: old });
      reloaded.push(next);
      void next.drainPrevious(60_000);
      await new Promise(setImmediate);
      return h.gw.audit.begin(each);
    };
    const gw = { ...h.gw, upstreams: old, audit: { ...h.gw.audit, begin } };
    const { result } = await send(gw, "tools/call", { name: "crm__echo", arguments: { n: 1 } }, asking);
    expect(JSON.stringify(result)).toContain("args");
    expect(result).not.toHaveProperty("isError");
    for (const each of reloaded) await each.close(0);
    expect(old.status()[0]?.pids).toEqual([]);
  },
);

test("a refusal is recorded before it is sent", async () => {
  const h = harness();
  const refused = request(h.gw, "tools/call", call);
  await refuse(h.gw, refused, new Failure("body-too-large", "Too large."));
  expect([types(h.records), refused.failure?.code]).toEqual([["call.refused"], "body-too-large"]);
  h.failing.on = "call.refused";
  const unrecorded = request(h.gw, "tools/call", call);
  await refuse(h.gw, unrecorded, new Failure("body-too-large", "Too large."));
  expect(unrecorded.failure?.code).toBe("audit-unavailable");
});

test("a request gives its place back however it ends", async () => {
  const h = harness({ script: (_call, { method }) => (method === "tools/call" ? ok() : Promise.reject(cancelled())) });
  const options = limitsOptions.parse({ inFlight: { perPrincipal: 1, total: 1 } });
  const state = createLimitsState(h.clock);
  const gw = { ...h.gw, limits: createLimits(options, h.clock, state) };
  const asked: [method: string, params: object][] = [
    ["tools/call", call],
    ["tools/call", { name: "crm__unknown" }],
    ["tools/list", {}],
    ["no/such", {}],
    ["tools/call", call],
  ];
  const codes: (string | null)[] = [];
  for (const [method, params] of asked) {
    codes.push((await send(gw, method, params)).call.failure?.code ?? null);
    expect([state.inFlight.total, state.weight.total]).toEqual([0, 0]);
  }
  expect(codes).toEqual([null, "unknown-tool", null, "unknown-method", null]);
});

test("a client at its limit can still cancel: notifications and malformed answers take no place", async () => {
  const h = harness();
  const state = createLimitsState(h.clock);
  const limits = createLimits(limitsOptions.parse({ inFlight: { perPrincipal: 1, total: 1 } }), h.clock, state);
  limits.admit(alice, 1);
  for (const as of [{ kind: "notification", idText: null }, { answer: { kind: "error", text: "{}" } }]) {
    const message = request(h.gw, "ping", {}, { era: "legacy" });
    Object.assign(message.inbound, as);
    await handle({ ...h.gw, limits }, message);
    expect([message.failure, state.inFlight.total]).toEqual([null, 1]);
  }
});

test("invalid arguments cost their caller a token, because checking them costs the gateway", async () => {
  const h = harness({ servers: { crm: { tools: [strict] } } });
  const { failure } = (await called(h)).call;
  expect([failure?.code, h.taken.count, h.sent]).toEqual(["invalid-arguments", 1, []]);
});

test("a caller waits for a failing audit log only once, unless the log has taken its begin", async () => {
  for (const [stage, waits] of [
    ["call.begin", false],
    ["asked", true],
  ] as const) {
    const h = harness({ script: asksByResult(form) });
    h.failing.on = stage;
    const recorded = Promise.withResolvers<void>();
    Object.assign(h.gw.audit, { end: () => recorded.promise });
    const ended = called(h, { capabilities: { elicitation: {} } }).then(() => "told");
    const waiting = new Promise((resolve) => setImmediate(resolve, "waits"));
    expect(await Promise.race([ended, waiting])).toBe(waits ? "waits" : "told");
    recorded.resolve();
    expect(await ended).toBe("told");
  }
});

test("a call's duration counts from its arrival to its end", async () => {
  const h = harness({ script: () => (h.clock.advance(7), ok()) });
  h.clock.advance(5);
  expect((await called(h, { started: 1_000 })).call.took).toBe(11_000);
});

test("a call that fails at its server keeps that failure even if the gateway ends it too", async () => {
  const { h, begun, answer } = working();
  const controller = new AbortController();
  const ending = called(h, { controller });
  await begun;
  controller.abort("The gateway stops.");
  answer.reject(new Failure("timeout", "It took too long."));
  expect((await ending).call.failure?.code).toBe("timeout");
});

test("the gateway's own answer is refused, and recorded, if the caller's key was revoked in the meantime", async () => {
  const { h, boot, gw } = starting();
  const who = principal("key:carol", ["reader"]);
  const ending = send(gw, "tools/list", {}, { who });
  who.revoke();
  boot();
  expect((await ending).call.failure?.code).toBe("rights-lost");
  expect(types(h.records)).toEqual(["call.refused"]);
});

describe("a call is not made", () => {
  test("before the servers are known, and not at all if its caller leaves while waiting", async () => {
    const { h, boot, gw } = starting();
    const controller = new AbortController();
    const stays = send(gw, "tools/call", call);
    const leaving = ["tools/call", "tools/list"].map((method) => send(gw, method, call, { controller }));
    expect(types(h.records)).toEqual([]);
    controller.abort();
    // They end at once, because no client waits for the answers.
    for (const { failure } of (await Promise.all(leaving)).map(({ call: one }) => one))
      expect(failure?.code).toBe("cancelled");
    boot();
    expect((await stays).error).toBeUndefined();
    expect(h.sent).toHaveLength(1);
  });

  test("before the current gateway knows its servers, if there was a reload while it waited", async () => {
    const { h, boot, gw } = starting();
    const resolve = (): never => {
      throw new Failure("unknown-tool", "Unknown tool");
    };
    Object.assign(gw.catalog, { resolve, list: () => '{"tools":[]}' });
    const made = send(gw, "tools/call", call);
    const listed = send(gw, "tools/list");
    // The server that the reload replaced is still starting.
    const { promise: replaced, resolve: start } = Promise.withResolvers<void>();
    h.inForce.settled = replaced;
    h.inForce.catalog = gw.catalog;
    boot();
    await new Promise(setImmediate);
    expect(h.sent).toHaveLength(0);
    h.inForce.catalog = h.gw.catalog;
    start();
    expect((await made).error).toBeUndefined();
    expect((await listed).result.tools).not.toEqual([]);
    expect(h.sent).toHaveLength(1);
  });

  test("at an endpoint that a reload removed while it waited, and neither is a list", async () => {
    const { h, boot, gw } = starting();
    const methods = ["tools/call", "tools/list"];
    const waiting = methods.map((method) => send(gw, method, call, { scope: "crm" }));
    h.inForce.catalog = { ...h.gw.catalog, hasScope: () => false };
    boot();
    for (const { call: ended } of await Promise.all(waiting)) expect(ended.failure?.code).toBe("session-not-found");
    expect(h.sent).toEqual([]);
  });

  test("for a key revoked before the servers are known, and is not reported as possibly run", async () => {
    const { h, boot, gw } = starting();
    const who = principal("key:carol", ["reader"]);
    const ending = send(gw, "tools/call", call, { who });
    who.revoke();
    boot();
    const { failure } = (await ending).call;
    expect([failure?.code, failure?.detail.ran]).toEqual(["rights-lost", undefined]);
    expect(h.sent).toEqual([]);
  });

  test("after the gateway has ended it, and the caller reads that it did not run", async () => {
    const { boot, gw } = starting();
    const controller = new AbortController();
    const ending = send(gw, "tools/call", call, { controller });
    controller.abort("The gateway stops.");
    boot();
    const { failure } = (await ending).call;
    expect([failure?.code, failure?.detail.ran]).toEqual(["lost", "no"]);
  });

  test("in another caller's session", async () => {
    const h = harness();
    const foreign = await called(h, { era: "legacy", session: session(bob) });
    expect(foreign.call.failure?.code).toBe("session-not-found");
    expect(h.sent).toEqual([]);
    expect((await called(h, { era: "legacy", session: session(alice) })).error).toBeUndefined();
  });
});

describe("a tool that its server shows only to clients of the caller's kind", () => {
  /** Returns a gateway that does not know the tool until it `learns`; `asked` counts how often it had to. */
  function unaware(how: "learns" | "knows" = "learns") {
    const learning = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const counted = { asked: 0 };
    const learnTools = (): Promise<void> | null => {
      counted.asked++;
      begun.resolve();
      return how === "learns" ? learning.promise : null;
    };
    const h = harness({ learnTools });
    const { catalog } = h.gw;
    h.gw.catalog = harness({ servers: {} }).gw.catalog;
    return { h, begun: begun.promise, catalog, counted, learn: learning.resolve };
  }

  test("is called once it is known, even by a client that has not listed tools", async () => {
    const { h, begun, catalog, learn } = unaware();
    const ending = called(h);
    await begun;
    h.gw.catalog = catalog;
    learn();
    expect((await ending).error).toBeUndefined();
    expect(h.sent).toHaveLength(1);
  });

  test("is looked up in the gateway of a reload that came in the meantime", async () => {
    const { h, begun, catalog, learn } = unaware();
    const ending = called(h);
    await begun;
    h.inForce.catalog = catalog;
    learn();
    expect((await ending).error).toBeUndefined();
  });

  test("is waited for once, and not called if its caller leaves while waiting", async () => {
    const { h, begun, counted } = unaware();
    const controller = new AbortController();
    const ending = called(h, { controller });
    await begun;
    controller.abort();
    expect((await ending).call.failure?.code).toBe("cancelled");
    expect([counted.asked, h.sent]).toEqual([1, []]);
  });

  test("is not waited for if all tools for such clients are known", async () => {
    const { h, counted } = unaware("knows");
    expect((await called(h)).call.failure?.code).toBe("unknown-tool");
    expect(counted.asked).toBe(1);
  });

  test("is not waited for if it is known, or if a prompt is requested", async () => {
    const { h, catalog, counted } = unaware();
    await send(h.gw, "prompts/get", { name: "crm__greet" });
    h.gw.catalog = catalog;
    await called(h);
    expect([counted.asked, h.sent.length]).toEqual([0, 1]);
  });
});
