import { expect, test } from "bun:test";
import type { TaskWatch } from "../../src/core/ports.ts";
import { rejectionOf } from "../support/failure.ts";
import { discovers, serve } from "../support/mcp-server.ts";
import { until } from "../support/until.ts";
import { callTo, fake, type Harness, http, jsonOf, listed, serveFake } from "../support/upstream.ts";

const modern = ["--rich", "--era", "modern"];
const declares = { extensions: { "io.modelcontextprotocol/tasks": {} } };

/** Follows tasks of a server and collects their notifications. */
function follow(set: Harness, server: string, ...taskIds: string[]) {
  const told: string[] = [];
  const { promise: lost, resolve } = Promise.withResolvers<void>();
  const watch: TaskWatch = { server, taskIds, changed: (task) => void told.push(task), lost: resolve };
  const call = callTo("x", {}, { era: "modern", declares });
  return { told, lost, followed: set.followTasks(call, watch) };
}

const touch = (set: Harness, server: string, taskId: string) =>
  set.ask(server, "announce", { method: "notifications/tasks", params: { taskId } }, { era: "modern" });

test("a modern server is asked to announce the tasks that a caller follows, over HTTP and over stdio", async () => {
  await using served = await serveFake(["--http", "--sse", ...modern]);
  for (const server of [served.options, fake("fake", modern)]) {
    await using set = await listed([server]);
    const one = follow(set, "fake", "t-1", "refused");
    const other = follow(set, "fake", "t-2");
    const { taskIds, end } = await one.followed;
    expect([...taskIds]).toEqual(["t-1"]);
    await other.followed;
    const streams = set.status()[0]?.streams ?? 0;
    for (const taskId of ["t-1", "t-2"]) await touch(set, "fake", taskId);
    await until(() => one.told.length > 0 && other.told.length > 0, "both to be told");
    expect([one, other].map(({ told }) => told.map((task) => (JSON.parse(task) as { taskId: string }).taskId))).toEqual(
      [["t-1"], ["t-2"]],
    );
    end();
    await until(() => set.status()[0]?.streams === streams - 1, "the end of one");
  }
});

test("following fails at a server that announces no tasks or is legacy", async () => {
  await using set = await listed([fake("new", modern), fake("old", ["--rich", "--era", "legacy"])]);
  const alive = Promise.resolve("not lost");
  const streams = (): number[] => set.status().map((one) => one.streams);
  const before = streams();
  const asked = [
    ["new", "refused"],
    ["new", "unheard-of"],
    ["old", "t-1"],
    ["gone", "t-1"],
  ] as const;
  for (const [server, taskId] of asked) {
    const { followed, lost } = follow(set, server, taskId);
    expect(await rejectionOf(followed)).toMatchObject({ code: "upstream-down" });
    expect(await Promise.race([lost, alive])).toBe("not lost");
  }
  await until(() => Bun.deepEquals(streams(), before), "nothing to be left of it");
});

test("a caller that leaves before the server has agreed stops waiting", async () => {
  using server = serve(({ method, id }) => {
    if (method === "subscriptions/listen") return new Promise(() => {});
    return method === "server/discover" ? discovers(id) : null;
  });
  await using set = await listed([http("a", server.url)]);
  const controller = new AbortController();
  const watch: TaskWatch = { server: "a", taskIds: ["t-1"], changed: () => {}, lost: () => {} };
  const followed = rejectionOf(set.followTasks(callTo("x", {}, { era: "modern", declares, controller }), watch));
  await until(() => server.of("subscriptions/listen").length === 1, "it is asked");
  controller.abort();
  await followed;
  await until(() => set.status()[0]?.streams === 0, "nothing to be left of it");
});

test("a caller that follows a task is notified when its server is gone", async () => {
  await using set = await listed([fake("fake", modern)]);
  const { lost, followed } = follow(set, "fake", "t-1");
  await followed;
  const { pid } = jsonOf(await set.ask("fake", "count", {}, { era: "modern" }));
  process.kill(Number(pid), "SIGKILL");
  await lost;
});
