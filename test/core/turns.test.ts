import { expect, test } from "bun:test";
import { setImmediate as turn } from "node:timers/promises";
import { inTurns, Intake, piecesOf, Turn } from "../../src/core/turns.ts";
import { use } from "../support/turns.ts";

/** A source on a clock that the test controls: each message takes `ms`, then triggers work that takes `later`. */
function source(log: string[] = []) {
  let clock = 0;
  const ended = Promise.withResolvers<void>();
  const intake = new Intake<[name: string, ms: number, later?: number]>(
    {
      take([name, ms, later = 0]) {
        log.push(name);
        clock += ms;
        queueMicrotask(() => (clock += later));
      },
      pause: () => void log.push("paused"),
      resume() {
        log.push("resumed");
        ended.resolve();
      },
    },
    new Turn(() => clock),
  );
  return { log, intake, ended: ended.promise };
}

test("a source that stays below its share is never paused, however long it lasts", async () => {
  const { log, intake } = source();
  for (let at = 0; at < 100; at++) {
    intake.push([String(at), 1]);
    await turn();
  }
  for (let at = 0; at < 100; at++) intake.push([String(at), 0.01]);
  expect(log).toHaveLength(200);
  expect(log).not.toContain("paused");
});

const floods: [string, [ms: number, later?: number], perTurn: number][] = [
  ["each long message", [3], 1],
  ["every second message", [1], 2],
  ["the work that its messages trigger", [0.5, 1], 2],
];
test.each(floods)(
  "a source waits for its turn and keeps its order when %s uses up its share",
  async (_, cost, perTurn) => {
    const { log, intake, ended } = source();
    const names = Array.from({ length: 8 }, (_, at) => String(at));
    for (const name of names) {
      intake.push([name, ...cost]);
      // Each message arrives in its own callback, as from a socket.
      await Promise.resolve();
    }
    let over = false;
    void ended.then(() => (over = true));
    const perTurns: number[] = [log.filter((one) => one !== "paused").length];
    while (!over) {
      const before = log.length;
      await turn();
      perTurns.push(log.slice(before).filter((one) => one !== "resumed").length);
    }
    expect(log).toEqual([...names.slice(0, perTurn), "paused", ...names.slice(perTurn), "resumed"]);
    expect(Math.max(...perTurns)).toBe(perTurn);
  },
);

test("messages that arrive while others wait keep their order, and the end comes last", async () => {
  const { log, intake } = source();
  const { promise, resolve } = Promise.withResolvers<void>();
  intake.push(["a", 5]);
  intake.push(["b", 0]);
  await Promise.resolve();
  intake.push(["c", 0]);
  intake.end(() => {
    log.push("end");
    resolve();
  });
  await promise;
  expect(log).toEqual(["a", "paused", "b", "c", "end"]);
  const calm = source();
  calm.intake.push(["a", 1]);
  calm.intake.end(() => void calm.log.push("end"));
  expect(calm.log).toEqual(["a", "end"]);
});

test("all floods together get one share per turn of the event loop, in rotation", async () => {
  const log: string[] = [];
  const sources = ["a", "b", "c"].map((name) => {
    const { intake, ended } = source(log);
    for (let at = 0; at < 4; at++) intake.push([name, 3]);
    return ended;
  });
  log.length = 0;
  let over = false;
  void Promise.all(sources).then(() => (over = true));
  let most = 0;
  while (!over) {
    const before = log.length;
    await turn();
    most = Math.max(most, log.slice(before).filter((one) => one !== "resumed").length);
  }
  expect(most).toBe(1);
  expect(log.filter((one) => one !== "resumed").join("")).toBe("abcabcabc");
});

test("a chunk is handled in pieces, each no earlier than the source's turn", async () => {
  let clock = 0;
  const chunk = new Uint8Array(100_000).map((_, at) => at);
  const taken: Uint8Array[] = [];
  const fed = new Turn(() => clock).feed(chunk, (piece) => {
    taken.push(piece);
    clock += 5;
  });
  const counts: number[] = [];
  let over = false;
  void fed.then(() => (over = true));
  while (!over) {
    counts.push(taken.length);
    await turn();
  }
  expect(counts.every((count, at) => at === 0 || count <= (counts[at - 1] ?? 0) + 1)).toBe(true);
  expect(Buffer.concat(taken).equals(chunk)).toBe(true);
  expect([...piecesOf(chunk)].every(({ length }) => length <= 8 * 1024)).toBe(true);
});

test("work in steps gives others their turn and passes on its result or error", async () => {
  function* steps(): Generator<void, string> {
    for (let at = 0; at < 3; at++) {
      use(2);
      yield;
    }
    return "done";
  }
  let turns = 0;
  let over = false;
  void (async () => {
    for (; !over; turns++) await turn();
  })();
  expect(await inTurns(steps())).toBe("done");
  over = true;
  expect(turns).toBeGreaterThanOrEqual(3);
  const failing = inTurns(
    (function* () {
      yield;
      throw new Error("broken");
    })(),
  );
  expect(await failing.catch(String)).toBe("Error: broken");
});
