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
