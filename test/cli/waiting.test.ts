import { expect, test } from "bun:test";
import { sample } from "../support/sample.ts";

test.concurrent("status --wait waits for a daemon that starts later, and gives up when its time is over", async () => {
  const late = sample();
  const tried = Promise.withResolvers<void>();
  const hangUp = (socket: Bun.Socket): void => {
    socket.end();
    tried.resolve();
  };
  const listener = Bun.listen({ unix: late.socket, socket: { open: hangUp, data() {} } });
  const waiting = late.run(["status", "--wait", "10", "--json"]);
  await tried.promise;
  listener.stop(true);
  await late.start();
  expect((await waiting).code).toBe(0);
  expect((await late.run(["status", "--wait", "0"])).code).toBe(0);
  await late.stop();
  expect((await late.run(["status", "--wait", "0"])).code).toBe(4);
  await late.close();
});

test.concurrent("a daemon that does not answer is given up: --wait keeps its bound, and nothing runs without it", async () => {
  const silent = sample();
  using _listener = Bun.listen({ unix: silent.socket, socket: { data() {} } });
  const given = { code: 4, out: "", err: expect.stringContaining(`the daemon at ${silent.socket} does not answer`) };
  const lines = ["status", "usage", "keys freeze", "serve"].map((words) => silent.run(words.split(" ")));
  const began = performance.now();
  expect(await silent.run(["status", "--wait", "1"])).toEqual(given);
  expect(performance.now() - began).toBeLessThan(8_000);
  for (const ran of await Promise.all(lines)) expect(ran).toEqual(given);
  await silent.close();
}, 60_000);

test.concurrent("status --wait gives up on a gateway that is not ready, and says once that it is of another version", async () => {
  const older = sample();
  await older.start("older");
  const { code, out, err } = await older.run(["status", "--wait", "1"]);
  expect({ code, out }).toEqual({ code: 1, out: "" });
  expect(err.split("\n")).toEqual([
    expect.stringMatching(/^mcpgw: this is [0-9.]+, the daemon is 0\.0\.9: restart it, or use its own mcpgw$/),
    expect.stringContaining("mcpgw: the daemon is not ready after 1 s: the audit log cannot record"),
    "",
  ]);
  await older.close();
});
