import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { Withdrawn } from "../../src/core/cancel.ts";
import type { Reply } from "../../src/core/call.ts";
import type { ClientAnswer, Era, InputRequest } from "../../src/core/inbound.ts";
import type { ServerOptions } from "../../src/upstream/options.ts";
import { rejectionOf } from "../support/failure.ts";
import { TempDir } from "../support/temp-dir.ts";
import { PerTurnCounter, use } from "../support/turns.ts";
import { type AskOptions, jsonOf, paramsOf, textOf, toolNames, upstreams } from "../support/upstream.ts";
import { until } from "../support/until.ts";

/** Requirements on every transport: calls, progress, cancellation, timeout, crash, large payloads. */
export type TransportCase = {
  /** Returns the options of a running fakemcp with id `fake`; disposing them ends its resources. */
  open(
    more?: Record<string, unknown>,
    env?: Record<string, string>,
  ): Promise<AsyncDisposable & { readonly options: ServerOptions }>;
  /** The era that the server, and so its callers here, speak. */
  era: Era;
  /** Whether a crashed server is replaced by a new one at the same address. */
  restarts: boolean;
  /** Whether messages can precede an answer; if not, they arrive on the session's own stream. */
  streams: boolean;
  /** Whether a legacy `notifications/cancelled` tells the server that its answer is not wanted. */
  tells: boolean;
};

async function start(
  transport: TransportCase,
  more: Record<string, unknown> = {},
  result?: number,
  env: Record<string, string> = {},
) {
  await using running = new AsyncDisposableStack();
  const { options } = running.use(await transport.open(more, env));
  const set = running.use(upstreams([options], result === undefined ? {} : { result }));
  await set.settled();
  const all = running.move();
  return Object.assign(set, { [Symbol.asyncDispose]: () => all.disposeAsync() });
}

/** Opens the caller's instance, and its own stream if messages other than answers arrive there. */
async function warm(transport: TransportCase, set: Awaited<ReturnType<typeof start>>, more: AskOptions): Promise<void> {
  await set.ask("fake", "echo", {}, more);
  if (!transport.streams) await until(() => set.status()[0]?.streams === 2, "both streams");
}

/**
 * Calls a tool that answers only once `said` holds, so that no message preceding the answer arrives after it on any
 * stream.
 */
async function askUntil(
  set: Awaited<ReturnType<typeof start>>,
  tool: string,
  args: Record<string, unknown>,
  more: AskOptions,
  said: () => boolean,
): Promise<Reply> {
  using at = new TempDir();
  const file = at.path("answer");
  const reply = set.ask("fake", tool, { ...args, file }, more);
  await until(said, "what the server says before its answer");
  writeFileSync(file, "");
  return await reply;
}

/** Registers the tests of everything other than answers, during and between calls. */
function exchanges(name: string, transport: TransportCase): void {
  const { era } = transport;
  const declares = { elicitation: {}, sampling: {}, roots: {} };

  const asks =
    era === "legacy"
      ? "a question of the server reaches the client of its call, and the answer reaches the server"
      : "a question of the server is refused, since its revision asks in rounds";
  test(`FIELD T5 ${name}: ${asks}`, async () => {
    await using set = await start(transport);
    const asked: InputRequest[] = [];
    const input = async (request: InputRequest): Promise<ClientAnswer> => {
      asked.push(request);
      return { kind: "result", text: '{"action":"accept","content":{"n":1.50}}' };
    };
    const more = { era, declares, input };
    await warm(transport, set, more);
    const params = { message: "?", requestedSchema: { type: "object" }, kept: [1] };
    const reply = await set.ask("fake", "ask", { method: "elicitation/create", params }, more);
    if (era === "modern") {
      expect(jsonOf(reply)).toMatchObject({ error: { code: -32601 } });
      expect(asked).toEqual([]);
      return;
    }
    expect(jsonOf(reply)).toEqual({ result: { action: "accept", content: { n: 1.5 } } });
    expect(asked).toEqual([{ method: "elicitation/create", params: JSON.stringify(params) }]);
    expect(jsonOf(await set.ask("fake", "ask", { method: "tools/call" }, more))).toMatchObject({
      error: { code: -32601 },
    });
  });

  // A modern server asks in rounds, and the answers come with the next request.
  const reports = era === "legacy" ? test : () => {};
  reports(`${name}: the client's progress on a question reaches the server before the answer`, async () => {
    await using set = await start(transport);
    const report = (progress: string): string => `{"progressToken":"ours","progress":${progress},"_meta":{"own":1}}`;
    const input = async ({ progress }: InputRequest): Promise<ClientAnswer> => {
      for (const each of ["0.50", "0.75", "1"]) progress?.(report(each));
      return { kind: "result", text: "{}" };
    };
    const more = { era, declares, input };
    await warm(transport, set, more);
    const said = { message: "?", _meta: { progressToken: 7 } };
    const reply = await set.ask("fake", "ask", { method: "elicitation/create", params: said }, more);
    const told = (progress: number): object => ({ progressToken: 7, progress, _meta: { own: 1 } });
    expect(jsonOf(reply)).toEqual({ result: {}, progress: [told(0.5), told(1)] });
    const { message } = said;
    const silent = await set.ask("fake", "ask", { method: "elicitation/create", params: { message } }, more);
    expect(jsonOf(silent)).toEqual({ result: {} });
  });

  test(`${name}: log messages reach the caller that wants them unchanged`, async () => {
    await using set = await start(transport);
    const seen: string[] = [];
    const more = { era, logLevel: "warning" as const, session: era === "legacy" ? "s" : undefined };
    await warm(transport, set, more);
    const emit = (text: string): void => void seen.push(text);
    const levels = ["debug", "warning", "error", "shouting"];
    await askUntil(set, "log", { levels }, { ...more, emit }, () => seen.length >= 2);
    const expected = ["warning", "error"].map((level) => ({ level, data: { n: 1.5 }, "x-kept": true }));
    expect(seen.map(paramsOf)).toEqual(expected);
    const { meta, level } = jsonOf(await set.ask("fake", "seen", {}, { ...more, emit }));
    const wanted = (meta as Record<string, unknown> | undefined)?.["io.modelcontextprotocol/logLevel"];
    expect(era === "modern" ? wanted : level).toBe("warning");
  });

  test(`${name}: no log message is lost if a client has several open calls, whatever its era`, async () => {
    for (const caller of ["legacy", "modern"] as const) {
      await using set = await start(transport);
      const seen: string[] = [];
      const session = caller === "legacy" ? "s" : undefined;
      const more = { era: caller, session, logLevel: "debug" as const };
      await warm(transport, set, more);
      const emit = (text: string): void => void seen.push(text);
      const call = () =>
        askUntil(set, "log", { levels: Array(20).fill("info") }, { ...more, emit }, () => seen.length >= 60);
      await Promise.all([call(), call(), call()]);
      expect(seen.length).toBe(60);
    }
  });

  test(`${name}: notifications of extensions reach the caller that declared one; those of tasks reach nobody`, async () => {
    const methods = ["notifications/tasks", "notifications/tasks/status", "notifications/acme/said", "acme/said"];
    const last = "notifications/message";
    for (const [extensions, heard] of [
      [{ "com.acme/acme": {} }, methods.slice(2)],
      [{}, []],
    ] as const) {
      await using set = await start(transport);
      const seen: string[] = [];
      const session = era === "legacy" ? "s" : undefined;
      const more = { era, session, declares: { extensions }, logLevel: "info" as const };
      await warm(transport, set, more);
      const emit = (text: string): void => void seen.push(text);
      const said = (): boolean => seen.some((text) => text.includes(last));
      await askUntil(set, "log", { methods, levels: ["info"] }, { ...more, emit }, said);
      expect(seen.map((text) => JSON.parse(text).method)).toEqual([...heard, last]);
      for (const text of seen.slice(0, -1))
        expect(paramsOf(text)).toEqual({ n: 1.5, "x-kept": true, _meta: { own: 2 } });
    }
  });

  test(`FIELD T54 ${name}: a changed list is fetched again`, async () => {
    using at = new TempDir();
    await using set = await start(transport, {}, undefined, { FAKE_TOOLS: at.path("tools") });
    await warm(transport, set, { era });
    if (era === "modern") await until(() => set.status()[0]?.streams === 1, "the listening stream");
    const { promise: changed, resolve } = Promise.withResolvers<void>();
    set.onChange(() => toolNames(set).includes("new-one") && resolve());
    await set.ask("fake", "grow", { name: "new-one" }, { era });
    await changed;
  });

  test(`${name}: callers of one instance share a subscription, which ends with the last of them`, async () => {
    await using set = await start(transport);
    await warm(transport, set, { era });
    const [first, second] = [counter(), counter()];
    const stops = [await set.follow("fake", "test://a", first.count, era)];
    stops.push(await set.follow("fake", "test://a", second.count, era));
    const touch = { method: "notifications/resources/updated", params: { uri: "test://a" } };
    await set.ask("fake", "announce", touch, { era });
    await until(() => first.seen() === 1 && second.seen() === 1, "both to be told");
    expect(set.status()[0]?.subscriptions).toBe(1);
    stops[0]?.();
    await set.ask("fake", "announce", touch, { era });
    await until(() => second.seen() === 2, "the other to be told");
    expect(first.seen()).toBe(1);
    stops[1]?.();
    const told = async () => (jsonOf(await set.ask("fake", "seen", {}, { era })).subscribed as string[]).join();
    if (era === "legacy")
      await until(async () => (await told()) === "+test://a,-test://a", "the end of one subscription");
    expect(set.status()[0]?.subscriptions).toBe(0);
  });
}

function subResources(name: string, transport: TransportCase): void {
  const { era } = transport;
  test(`${name}: a subscriber to a resource is notified of resources below it, unless their URI is too long`, async () => {
    await using set = await start(transport);
    await warm(transport, set, { era });
    const said: unknown[] = [];
    // Longer than the URIs that callers may read.
    const long = `test://a/${"b".repeat(8192)}`;
    await set.follow(
      "fake",
      "test://a",
      (params) => void said.push(params && (JSON.parse(params) as { uri: unknown }).uri),
      era,
    );
    for (const uri of ["test://ab", "test://a/b", "test://a#b", "test://a?b", long, "test://a"]) {
      const touch = { method: "notifications/resources/updated", params: { uri } };
      await set.ask("fake", "announce", touch, { era });
    }
    await until(() => said.includes("test://a"), "the resource itself");
    expect(said).toEqual(["test://a/b", "test://a#b", "test://a?b", "test://a"]);
  });
}

function counter() {
  let seen = 0;
  return { count: () => void seen++, seen: () => seen };
}

/** Registers the tests of one transport. */
export function transportSuite(name: string, transport: TransportCase): void {
  exchanges(name, transport);
  subResources(name, transport);

  test(`${name}: lists tools and calls them with unchanged arguments`, async () => {
    await using set = await start(transport);
    expect(set.listings()[0]).toMatchObject({ server: "fake", stale: false });
    expect(set.status()[0]).toMatchObject({ state: "ready", reason: null });
    const reply = await set.ask("fake", "echo", '{"n":12345678901234567890, "d":1.10,"ü":"\\u00fc"}');
    expect(reply).toMatchObject({ kind: "result", isError: false });
    expect(jsonOf(reply)).toMatchObject({ name: "echo" });
  });

  test(`${name}: a JSON-RPC error is passed on unchanged`, async () => {
    await using set = await start(transport);
    expect(await set.ask("fake", "fail")).toMatchObject({
      kind: "error",
      code: -32602,
      text: expect.stringContaining("no such thing"),
    });
  });

  test(`${name}: progress carries the caller's token, and foreign progress is dropped`, async () => {
    await using set = await start(transport);
    const seen: string[] = [];
    await warm(transport, set, {});
    const more = { token: '"mine"', emit: (text: string) => void seen.push(text) };
    const reply = await askUntil(set, "progress", {}, more, () => seen.length >= 3);
    expect(textOf(reply)).toBe("done");
    const expected = [1, 2, 3].map((progress) => ({ progressToken: "mine", progress, total: 3 }));
    expect(seen.map(paramsOf)).toEqual(expected);
  });

  test(`${name}: a flooding server leaves others their turn, and none of its messages is lost or reordered`, async () => {
    await using set = await start(transport);
    await warm(transport, set, {});
    using turns = new PerTurnCounter();
    const seen: unknown[] = [];
    const emit = (text: string): void => {
      turns.count();
      use(1);
      seen.push(paramsOf(text).progress);
    };
    const total = 200;
    const message = "x".repeat(2_000);
    const more = { token: "1", emit };
    const reply = await askUntil(set, "progress", { total, message }, more, () => seen.length >= total);
    expect(textOf(reply)).toBe("done");
    expect(seen).toEqual(Array.from({ length: total }, (_, at) => at + 1));
    expect(turns.most).toBeLessThanOrEqual(10);
  });

  const tells = transport.tells ? ", and the server is told" : "";
  test(`${name}: a cancelled call ends at once${tells}`, async () => {
    await using set = await start(transport);
    await set.ask("fake", "echo");
    const controller = new AbortController();
    const failed = rejectionOf(set.ask("fake", "hang", {}, { controller }));
    await until(() => set.status()[0]?.inFlight === 1, "in flight");
    controller.abort(new Withdrawn("the user changed their mind"));
    expect((await failed).code).toBe("cancelled");
    if (!transport.tells) return;
    const told = async () => (jsonOf(await set.ask("fake", "count")).cancelled as { reason: string }[])[0];
    expect((await until(told, "the server to be told")).reason).toBe("the user changed their mind");
  });

  test(`T12 ${name}: a call that hangs times out, and the next one works`, async () => {
    await using set = await start(transport, { timeout: "500ms" });
    // Over HTTP, the handshake has the same timeout, which a busy machine may reach.
    const attempt = async () => {
      const failure = await rejectionOf(set.ask("fake", "hang"));
      return failure.code === "upstream-down" ? null : failure;
    };
    const failure = await until(attempt, "a session");
    expect(failure).toMatchObject({ code: "timeout" });
    // The configured timeout, however long the instance took to start.
    expect(failure.message).toContain("did not answer within 500ms. The call may have run");
    expect(textOf(await set.ask("fake", "slow", { ms: 1 }))).toBe('{"ms":1}');
    expect(set.status()[0]?.inFlight).toBe(0);
  });

  test(`T10 ${name}: a crash during a call is answered within a second as possibly executed`, async () => {
    await using set = await start(transport);
    // The start of the caller's instance takes additional time.
    await set.ask("fake", "echo");
    const before = performance.now();
    const failure = await rejectionOf(set.ask("fake", "crash"));
    expect(performance.now() - before).toBeLessThan(1_000);
    expect(failure.code).toBe("lost");
    expect(failure.message).toContain("may have run");
    if (!transport.restarts) return;
    await until(() => set.ask("fake", "echo").catch(() => null), "the server to be back");
  });

  test(`${name}: a result of 4 MiB arrives, and one beyond the limit is refused`, async () => {
    await using set = await start(transport, {}, 5 * 1024 ** 2);
    expect(textOf(await set.ask("fake", "big", { size: 4 * 1024 ** 2 })).length).toBe(4 * 1024 ** 2);
    expect((await rejectionOf(set.ask("fake", "big", { size: 6 * 1024 ** 2 }))).code).toBe("result-too-large");
    // Bytes are counted, not characters.
    expect((await rejectionOf(set.ask("fake", "big", { size: 3 * 1024 ** 2, of: "é" }))).code).toBe("result-too-large");
    expect(textOf(await set.ask("fake", "slow", { ms: 1 }))).toBe('{"ms":1}');
  });

  test(`${name}: an answer nested too deeply fails its call at once`, async () => {
    await using set = await start(transport);
    for (const size of [0, 100_000]) {
      expect((await rejectionOf(set.ask("fake", "deep", { size }))).code).toBe("result-too-large");
    }
  });

  test(`${name}: an answer whose id is spelled differently counts as the answer, even a broken one`, async () => {
    await using set = await start(transport);
    for (const as of ["#", "#.0", "#e0", '"#"']) expect(textOf(await set.ask("fake", "spell", { as }))).toBe("spelt");
    for (const as of ["#", '"#"']) {
      const failure = await rejectionOf(set.ask("fake", "spell", { as, result: [] }));
      expect([failure.code, failure.message]).toEqual([
        "upstream-protocol",
        expect.stringContaining("a result that is not an object"),
      ]);
    }
  });

  test(`S10 T14 ${name}: answers that belong to nobody reach nobody and are counted`, async () => {
    await using set = await start(transport, { isolation: "shared", timeout: "1s" });
    await until(() => set.ask("fake", "echo").catch(() => null), "an instance");
    const before = set.status()[0]?.dropped ?? NaN;
    const stray = ["wrong-id", "both", "null-id"];
    const slow = set.ask("fake", "slow", { ms: 100, own: 1 });
    const failures = await Promise.all(stray.map((tool) => rejectionOf(set.ask("fake", tool))));
    // If only one call can be meant, its caller may learn of it at once.
    for (const { code } of failures) expect(["timeout", "upstream-protocol", "lost"]).toContain(code);
    expect(jsonOf(await slow)).toEqual({ ms: 100, own: 1 });
    expect(textOf(await set.ask("fake", "twice"))).toBe("first");
    expect(set.status()[0]?.dropped).toBeGreaterThanOrEqual(before + stray.length);
    expect(textOf(await set.ask("fake", "slow", { ms: 1 }))).toBe('{"ms":1}');
  });

  test(`S20 ${name}: 64 callers whose ids collide each get their own answers`, async () => {
    await using set = await start(transport, { isolation: "shared" });
    const caller = async (marker: number): Promise<void> => {
      for (let round = 0; round < 10; round++) {
        const reply = await set.ask("fake", "slow", { ms: (marker * 7 + round) % 5, marker });
        expect(jsonOf(reply).marker).toBe(marker);
      }
    };
    await Promise.all(Array.from({ length: 64 }, (_, marker) => caller(marker)));
  });
}
