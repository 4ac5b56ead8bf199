import { describe, expect, jest, test } from "bun:test";
import { type AbortSignalLike, Withdrawn } from "../../src/core/cancel.ts";
import { Failure } from "../../src/core/failure.ts";
import type { Era } from "../../src/core/inbound.ts";
import { progressNotification } from "../../src/mcp/reply.ts";
import { until } from "../support/until.ts";
import { textIn } from "../support/wire.ts";
import { asksByResult, asksMeanwhile, call, form, never, retry } from "./ask.ts";
import { alice, type Asking, bob, harness, ok, request, send, session, steps, types } from "./support.ts";

describe("related messages and the end of a call", () => {
  const cells = (["legacy", "modern"] as Era[]).flatMap((from) =>
    (["legacy", "modern"] as Era[]).map((to) => [from, to] as const),
  );
  const declares = { elicitation: {}, sampling: {}, roots: {} };

  test.each(cells)(
    "%s caller, %s server: progress and logs reach the caller, cancelling reaches the server",
    async (from, to) => {
      const said: string[] = [];
      const controller = new AbortController();
      const log = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1.10}}';
      const { gw, records } = harness({
        script: async (running) => {
          running.emit?.(progressNotification(running.inbound.progressToken ?? "?", '{"progress":1}'));
          running.emit?.(log);
          if (running.inbound.params.arguments === undefined) return ok('{"content":[]}', to);
          controller.abort();
          await until(() => running.controller.signal.aborted, "the server is told");
          throw new Failure("cancelled", "The call was cancelled.");
        },
      });
      const asking: Asking = {
        era: from,
        controller,
        emit: (text) => said.push(text),
        capabilities: declares,
        logLevel: "info",
        session: from === "legacy" ? session(alice, declares) : null,
      };
      const _meta = { progressToken: "mine" };
      const expected = [
        '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"progressToken":"mine"}}',
        log,
      ];
      const { result } = await send(gw, "tools/call", { name: "crm__get", _meta }, asking);
      expect(result.content).toEqual([]);
      expect(result.resultType).toBe(from === "modern" ? "complete" : undefined);
      expect(said.splice(0)).toEqual(expected);
      const ended = await send(gw, "tools/call", { ...call, _meta }, asking);
      expect(ended.call.failure?.code).toBe("cancelled");
      expect(said).toEqual(expected);
      expect(types(records)).toEqual(["call.begin", "call.end", "call.begin", "call.end"]);
      expect(records.map((each) => each.call.status)).toEqual(["ok", "ok", "cancelled", "cancelled"]);
    },
  );

  test("a round's progress has the waiting request's token, logs need a request, and others pass unchanged", async () => {
    const go = Promise.withResolvers<void>();
    const h = harness({
      script: async (running) => {
        await running.input?.(form, never);
        await go.promise;
        running.emit?.(progressNotification(running.inbound.progressToken ?? "?", '{"progress":1}'));
        running.emit?.('{"jsonrpc":"2.0","method":"notifications/message","params":{}}');
        running.emit?.('{"jsonrpc":"2.0","method":"acme/said","params":{}}');
        return ok();
      },
    });
    const params = { ...call, _meta: { progressToken: 7 } };
    const first = await send(h.gw, "tools/call", params, { capabilities: declares });
    const said: string[] = [];
    const again = retry(
      h,
      first.result,
      '{"action":"accept"}',
      { capabilities: declares, emit: (text) => said.push(text) },
      {
        ...call,
        _meta: { progressToken: "two" },
      },
    );
    go.resolve();
    await again;
    const told = said.map((text) => JSON.parse(text));
    expect(told.map(({ method, params }) => [method, params.progressToken])).toEqual([
      ["notifications/progress", "two"],
      ["acme/said", undefined],
    ]);
  });
});

describe("a step that cannot be recorded does not happen", () => {
  const declares = { elicitation: {} };
  const steps: [what: string, on: string, asked: number, told: string][] = [
    ["the question", "asked", 0, "withheld"],
    ["the answer", "accept", 1, "withheld"],
  ];
  test.each(steps)("legacy caller, legacy server: %s", async (_what, on, times) => {
    let asked = 0;
    const { gw, failing } = harness({ script: asksMeanwhile(form) });
    failing.on = on;
    const ask: Asking["ask"] = () => {
      asked++;
      return Promise.resolve({ kind: "result", text: '{"action":"accept","content":{"secret":1}}' });
    };
    const { result } = await send(gw, "tools/call", call, { era: "legacy", session: session(alice, declares), ask });
    expect(asked).toBe(times);
    expect(textIn(result)).not.toContain("secret");
    expect(JSON.parse(textIn(result))).toMatchObject({ code: -32603 });
  });

  test("modern caller, legacy server", async () => {
    for (const on of ["asked", "accept"]) {
      const h = harness({ script: asksMeanwhile(form) });
      h.failing.on = on;
      const first = await send(h.gw, "tools/call", call, { capabilities: declares });
      expect(first.result.resultType).toBe(on === "asked" ? "complete" : "input_required");
      const last =
        on === "asked"
          ? first
          : await retry(h, first.result, '{"action":"accept","content":{"secret":1}}', { capabilities: declares });
      expect(textIn(last.result)).not.toContain("secret");
      expect(JSON.parse(textIn(last.result))).toMatchObject({ code: -32603 });
    }
  });

  test("modern caller, modern server: neither question nor answer is passed on", async () => {
    const h = harness({ script: asksByResult(form) });
    h.failing.on = "asked";
    expect((await send(h.gw, "tools/call", call, { capabilities: declares })).call.failure?.code).toBe(
      "audit-unavailable",
    );
    h.failing.on = null;
    const first = await send(h.gw, "tools/call", call, { capabilities: declares });
    h.failing.on = "accept";
    const before = h.sent.length;
    const last = await retry(h, first.result, '{"action":"accept"}', { capabilities: declares });
    expect(last.error).toMatchObject({ code: -32603, data: { retryable: true } });
    expect(h.sent).toHaveLength(before);
    expect(types(h.records).slice(-2)).toEqual(["call.begin", "call.end"]);
  });

  test("a call whose begin cannot be recorded is not made; without a recorded end it returns no result", async () => {
    for (const on of ["call.begin", "call.end"]) {
      const h = harness();
      h.failing.on = on;
      const { call: ended, error } = await send(h.gw, "tools/call", call, { capabilities: declares });
      expect(ended.failure?.code).toBe("audit-unavailable");
      expect(error.code).toBe(-32603);
      expect(h.sent).toHaveLength(on === "call.begin" ? 0 : 1);
    }
  });
});

test("a question goes only to the caller of the call", async () => {
  const asked: string[] = [];
  const { gw } = harness({
    script: async (running) => {
      await running.input?.(form, never);
      asked.push(running.who.id);
      return ok();
    },
  });
  const to = (who: typeof alice): Asking => ({
    who,
    era: "legacy",
    session: session(who, { elicitation: {} }),
    ask: () => {
      asked.push(`asked ${who.id}`);
      return Promise.resolve({ kind: "result", text: '{"action":"accept"}' });
    },
  });
  await send(gw, "tools/call", call, to(alice));
  await send(gw, "tools/call", call, to(bob));
  expect(asked).toEqual(["asked key:alice", "key:alice", "asked key:bob", "key:bob"]);
  expect(request(gw, "tools/call", call).input).toBeNull();
});

test("a question that its server withdraws ends at the client with the server's reason", async () => {
  const withdrawn = new AbortController();
  const { gw } = harness({
    async script(running) {
      await running.input?.(form, withdrawn.signal);
      return ok();
    },
  });
  const ended = Promise.withResolvers<unknown>();
  const ask: Asking["ask"] = (_request, signal) => {
    signal.addEventListener("abort", () => ended.resolve(signal.reason));
    withdrawn.abort(new Withdrawn("enough"));
    return new Promise(() => {});
  };
  await send(gw, "tools/call", call, { era: "legacy", session: session(alice, { elicitation: {} }), ask });
  expect(await ended.promise).toEqual(new Withdrawn("enough"));
});

test("a question to a legacy client that does not answer ends after ten minutes", async () => {
  jest.useFakeTimers();
  try {
    const { gw, records } = harness({ script: asksMeanwhile(form) });
    const asked = Promise.withResolvers<AbortSignalLike>();
    const ask: Asking["ask"] = (_request, signal) => {
      asked.resolve(signal);
      return new Promise(() => {});
    };
    const asking: Asking = { era: "legacy", session: session(alice, { elicitation: {} }), ask };
    const answered = send(gw, "tools/call", call, asking);
    const signal = await asked.promise;
    jest.advanceTimersByTime(10 * 60_000 - 1);
    expect(signal.aborted).toBe(false);
    jest.advanceTimersByTime(1);
    expect(textIn((await answered).result)).toContain("did not answer within 10 minutes");
    expect(signal.aborted).toBe(true);
    expect(steps(records)).toEqual(["asked elicitation/create"]);
  } finally {
    jest.useRealTimers();
  }
});
