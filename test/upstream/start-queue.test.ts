import { expect, test } from "bun:test";
import { availableParallelism } from "node:os";
import { StartQueue } from "../../src/upstream/start-queue.ts";
import { rejectionOf } from "../support/failure.ts";
import { serve } from "../support/mcp-server.ts";
import { until } from "../support/until.ts";
import { fake, http, listed, quick, textOf, upstreams } from "../support/upstream.ts";

const tick = () => new Promise<void>((resolve) => void setImmediate(resolve));

/** Starts that end when the test says so; `begun` lists those that have begun. */
function held(queue: StartQueue) {
  const begun: string[] = [];
  const add = (name: string) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const added = queue.add(() => {
      begun.push(name);
      return promise;
    });
    return { added, resolve, reject };
  };
  return { begun, add };
}

test("a limited number begin at once, the others in order, even after one has failed", async () => {
  const { begun, add } = held(new StartQueue({ places: 2, longest: 60_000 }));
  const [a, b, c, d] = [add("a"), add("b"), add("c"), add("d")];
  await tick();
  expect(begun).toEqual(["a", "b"]);
  b.reject(new Error("no such program"));
  expect((await rejectionOf(b.added)).message).toBe("no such program");
  await tick();
  expect(begun).toEqual(["a", "b", "c"]);
  a.resolve();
  c.resolve();
  await Promise.all([a.added, c.added]);
  await tick();
  expect(begun).toEqual(["a", "b", "c", "d"]);
  d.resolve();
  await d.added;
  // All places are free again.
  add("e");
  add("f");
  add("g");
  await tick();
  expect(begun.slice(4)).toEqual(["e", "f"]);
});

test("a start that hangs keeps its place only for a while", async () => {
  const { begun, add } = held(new StartQueue({ places: 1, longest: 1 }));
  add("hangs");
  const next = add("next");
  next.resolve();
  await next.added;
  expect(begun).toEqual(["hangs", "next"]);
});

const many = 2 * availableParallelism() + 1;
const onDemand = (version: string) =>
  Array.from({ length: many }, (_, at) => fake(`s${at}`, [], { start: "on-demand", env: { VERSION: version } }));

test("servers started only to be listed wait for each other, but a call does not wait", async () => {
  const old = upstreams(onDemand("1"));
  const last = () => old.status().at(-1);
  expect(old.events.filter(({ type }) => type === "server.started").length).toBeLessThan(many);
  expect(last()).toMatchObject({ state: "starting", pids: [] });
  await old.settled();
  expect(old.status().map(({ state, tools }) => state === "idle" && tools > 0)).toEqual(Array(many).fill(true));

  // Other servers with the same ids, so that the tools of the earlier ones can be called already.
  await using set = upstreams(onDemand("2"), { previous: old });
  expect(textOf(await set.ask(`s${many - 1}`, "env"))).toContain('"VERSION":"2"');
  await Promise.all([set.settled(), set.drainPrevious(0)]);
  const states = set.status().map(({ state }) => String(state));
  expect(states).toEqual([...Array<string>(many - 1).fill("idle"), "ready"]);
});

test("a server that a call found broken stays in backoff when its turn to be listed comes", async () => {
  const old = await listed(onDemand("1"));
  const broken = fake("broken", [], { start: "on-demand", protocol: "auto", command: "false" });
  const tuning = { breaker: { ...quick.breaker, first: 60_000, most: 60_000 } };
  await using set = upstreams([...onDemand("2"), broken], { previous: old, tuning });
  const { code } = await rejectionOf(set.ask("broken", "env"));
  expect([code, set.status().at(-1)?.state]).toEqual(["upstream-down", "backoff"]);
  // Only this one is asked which eras it speaks.
  const starts = () => set.events.filter(({ type }) => type === "server.probed").length;
  const before = starts();
  await Promise.all([set.settled(), set.drainPrevious(0)]);
  expect(starts()).toBe(before);
});

test("servers with a URL do not wait in the queue", async () => {
  using server = serve(() => new Promise<null>(() => {}));
  const servers = Array.from({ length: many }, (_, at) => http(`s${at}`, server.url, { start: "on-demand" }));
  await using _ = upstreams(servers);
  await until(() => server.seen.length === many, "all to be asked");
});

test("after a reload, a queued server is listed once, and a removed one is not started", async () => {
  const servers = onDemand("1");
  const old = upstreams(servers);
  await using set = upstreams(servers.slice(0, -1), { previous: old });
  await Promise.all([old.settled(), set.settled(), set.drainPrevious(0)]);
  const started = [...old.events, ...set.events].flatMap((event) =>
    event.type === "server.started" ? [event.facts.server] : [],
  );
  expect(started.sort()).toEqual(servers.slice(0, -1).map(({ id }) => id));
});
