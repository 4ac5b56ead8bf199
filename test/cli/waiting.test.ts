import { expect, setDefaultTimeout, setSystemTime, test } from "bun:test";
import { Refusal } from "../../src/control/refusal.ts";
import { run } from "../support/command-line.ts";
import { sampleHandlers } from "../support/control-answers.ts";
import { sample } from "../support/sample.ts";

setDefaultTimeout(30_000);

test.concurrent("status --wait waits for a daemon that starts later, and gives up when its time is up", async () => {
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

test.concurrent("a command gives up on a daemon that does not answer: --wait keeps its limit, and nothing else runs instead", async () => {
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

test.concurrent("status --wait gives up on a gateway that is not ready, and reports a different version only once", async () => {
  const older = sample();
  await older.start("older");
  const { code, out, err } = await older.run(["status", "--wait", "1"]);
  expect({ code, out }).toEqual({ code: 1, out: "" });
  expect(err.split("\n")).toEqual([
    expect.stringMatching(/^mcpgw: this is [0-9.]+, but the daemon is 0\.0\.9; restart the daemon, or use its mcpgw$/),
    expect.stringContaining("mcpgw: the daemon is not ready after 1 s: the audit log cannot record"),
    "",
  ]);
  await older.close();
});

test("R20 status --wait waits for a busy daemon, but not if waiting cannot help", async () => {
  const answer = await sampleHandlers().status({}, {} as never);
  let asked = 0;
  const ask = (code: "busy" | "denied") =>
    run("status --wait 60", () => {
      if (asked++ === 0) throw new Refusal(code, "not now");
      return answer;
    });
  const ready = expect.stringContaining("ready");
  // The number of connections to a daemon is limited.
  expect(await ask("busy")).toMatchObject({ code: 0, out: ready, opened: [{}, {}], closed: 2 });
  asked = 0;
  expect(await ask("denied")).toMatchObject({ code: 1, err: expect.stringContaining("not now") });
});

test("R20 status --wait waits for the given time, even if the clock is changed in the meantime", async () => {
  const ready = await sampleHandlers().status({}, {} as never);
  let asked = 0;
  const answer = run("status --wait 60", () => {
    // Like at a boot before the time is set from the network.
    setSystemTime(Date.now() + 86_400_000);
    return asked++ === 0 ? { ...ready, notReady: "starting" } : ready;
  });
  expect(await answer.finally(() => setSystemTime())).toMatchObject({ code: 0 });
  expect(asked).toBe(2);
});

test("R20 status --wait gives up on a daemon that greets and then stops answering", async () => {
  const { err } = await run("status --wait 0", () => new Promise(() => {}));
  expect(err).toBe("Unanswered: the daemon has stopped answering\n");
});
