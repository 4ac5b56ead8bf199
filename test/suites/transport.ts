import { expect, test } from "bun:test";
import type { Failure } from "../../src/core/failure.ts";
import type { ServerOptions } from "../../src/upstream/options.ts";
import { jsonOf, paramsOf, textOf, upstreams } from "../support/upstream.ts";
import { until } from "../support/until.ts";

/** What every transport has to do: call, progress, cancel, time-out, crash, big payload. */
export type TransportCase = {
  /** Options of a running fakemcp with id `fake`; `dispose` ends what they need. */
  open(more?: Record<string, unknown>): Promise<{ options: ServerOptions; dispose(): Promise<void> }>;
  /** Whether a crash of the server is followed by a new one at the same place. */
  restarts: boolean;
  /** Whether messages can precede an answer. */
  streams: boolean;
  /** Whether a legacy `notifications/cancelled` tells the server that its answer is not wanted. */
  tells: boolean;
};

async function start(transport: TransportCase, more: Record<string, unknown> = {}, result?: number) {
  const { options, dispose } = await transport.open(more);
  const set = upstreams([options], result === undefined ? {} : { result });
  await set.settled();
  const end = async (): Promise<void> => {
    await set.close(0);
    await dispose();
  };
  return Object.assign(set, { [Symbol.asyncDispose]: end });
}

export const failureOf = (promise: Promise<unknown>): Promise<Failure> =>
  promise.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: Failure) => error,
  );

/** Registers the tests of one transport. */
export function transportSuite(name: string, transport: TransportCase): void {
  test(`${name}: lists and calls, arguments as they came`, async () => {
    await using set = await start(transport);
    expect(set.listings()[0]).toMatchObject({ server: "fake", stale: false });
    expect(set.status()[0]).toMatchObject({ state: "ready", reason: null });
    const reply = await set.ask("fake", "echo", '{"n":12345678901234567890, "d":1.10,"ü":"\\u00fc"}');
    expect(reply).toMatchObject({ kind: "result", isError: false });
    expect(jsonOf(reply)).toMatchObject({ name: "echo" });
  });

  test(`${name}: a JSON-RPC error travels as it came`, async () => {
    await using set = await start(transport);
    expect(await set.ask("fake", "fail")).toMatchObject({
      kind: "error",
      code: -32602,
      text: expect.stringContaining("no such thing"),
    });
  });

  test(`${name}: progress carries the caller's token, foreign progress is dropped`, async () => {
    await using set = await start(transport);
    const seen: string[] = [];
    const reply = await set.ask("fake", "progress", {}, { token: '"mine"', emit: (text) => void seen.push(text) });
    expect(textOf(reply)).toBe("done");
    const expected = [1, 2, 3].map((progress) => ({ progressToken: "mine", progress, total: 3 }));
    expect(seen.map(paramsOf)).toEqual(transport.streams ? expected : []);
  });

  test(`${name}: a cancelled call ends at once and the server is told`, async () => {
    await using set = await start(transport);
    await set.ask("fake", "echo");
    const controller = new AbortController();
    const failed = failureOf(set.ask("fake", "hang", {}, { controller }));
    await until(() => set.status()[0]?.inFlight === 1, "in flight");
    controller.abort();
    expect((await failed).code).toBe("cancelled");
    if (!transport.tells) return;
    const told = async () => (jsonOf(await set.ask("fake", "count")).cancelled as unknown[]).length > 0;
    await until(told, "the server to be told");
  });

  test(`T12 ${name}: a call that hangs times out, the next one works`, async () => {
    await using set = await start(transport, { timeout: "200ms" });
    const failure = await failureOf(set.ask("fake", "hang"));
    expect(failure).toMatchObject({ code: "timeout" });
    expect(failure.message).toContain("may have run");
    expect(textOf(await set.ask("fake", "slow", { ms: 1 }))).toBe('{"ms":1}');
    expect(set.status()[0]?.inFlight).toBe(0);
  });

  test(`T10 ${name}: a crash during a call is answered within a second, as perhaps executed`, async () => {
    await using set = await start(transport);
    const before = performance.now();
    const failure = await failureOf(set.ask("fake", "crash"));
    expect(performance.now() - before).toBeLessThan(1_000);
    expect(failure.code).toBe("lost");
    expect(failure.message).toContain("may have run");
    if (!transport.restarts) return;
    await until(() => set.ask("fake", "echo").catch(() => null), "the server to be back");
  });

  test(`${name}: a result of 4 MiB arrives, one beyond the limit is refused`, async () => {
    await using set = await start(transport, {}, 5 * 1024 ** 2);
    expect(textOf(await set.ask("fake", "big", { size: 4 * 1024 ** 2 })).length).toBe(4 * 1024 ** 2);
    expect((await failureOf(set.ask("fake", "big", { size: 6 * 1024 ** 2 }))).code).toBe("result-too-large");
    expect(textOf(await set.ask("fake", "slow", { ms: 1 }))).toBe('{"ms":1}');
  });

  test(`${name}: an answer that nests too deep fails its call at once`, async () => {
    await using set = await start(transport);
    expect((await failureOf(set.ask("fake", "deep"))).code).toBe("upstream-protocol");
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
