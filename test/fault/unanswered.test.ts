import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { everything, Place } from "../support/daemon.ts";
import { free, hang } from "../support/hang.ts";
import { until } from "../support/until.ts";

// Files for checkpoints that never answer.

test("R9 T46: files for checkpoints that never answer hold up neither calls, nor other evidence, nor a stop, nor a start", async () => {
  using place = new Place("");
  const [first, second] = [join(place.dir, "first.cp"), join(place.dir, "second.cp")];
  const checkpoints = [{ file: first }, { file: second }];
  place.configure({
    servers: [{ id: "calculator", builtin: "calculator" }],
    policies: [everything()],
    audit: { checkpoints, checkpointEvery: { records: 1 } },
  });
  const key = await place.key("alice");
  const unproven = {
    code: 3,
    stdout: expect.stringMatching(new RegExp(`${first} does not answer:.*\n.*${second} does not answer:`)) as unknown,
  };
  const head = () => Number(/"seq":(\d+)/.exec(readFileSync(beside("main.head"), "utf8"))?.[1]);
  const beside = (name: string) => join(place.heads, readdirSync(place.heads)[0] ?? "", name);
  {
    await using daemon = await place.start();
    const call = async () => {
      const sum = { operator: "add", operands: ["1", "2"] };
      expect((await daemon.call("calculator__exact_calculate", sum, key)).status).toBe(200);
    };
    for (const file of [first, second]) hang(file);
    await call();
    const told = await daemon.logged(({ msg }) => msg === "audit checkpoint not kept");
    expect(told["cause"]).toBe(`${first} does not answer`);
    const [noted, kept] = [head(), readFileSync(beside("main.checkpoints"), "utf8").length];
    await call();
    await until(() => head() > noted, "the head note");
    await until(() => readFileSync(beside("main.checkpoints"), "utf8").length > kept, "the checkpoint beside it");
    const warning: unknown = expect.stringContaining(`${first} does not answer`);
    expect(await place.json("status")).toMatchObject({ warnings: expect.arrayContaining([warning]) });
    expect(await place.cli(["audit", "verify"])).toMatchObject(unproven);
    free(first);
    await until(() => existsSync(first), "the checkpoint in the file that answers again");
    expect(await daemon.stop()).toBe(0);
  }
  hang(first);
  // The command finds no daemon yet, since the start compares the log with the files first.
  const [starting, verified] = await Promise.all([place.start(), place.cli(["audit", "verify"])]);
  await using daemon = starting;
  expect(verified).toMatchObject(unproven);
  const untold = daemon.log.filter(({ msg }) => msg === "the log is not compared with the checkpoints in this file");
  expect(untold.map(({ file }) => file)).toEqual([first, second]);
}, 40_000);

test("R9 T46: without a daemon a freeze does not wait for files for checkpoints that never answer, be they as many as threads for files", async () => {
  using place = new Place("");
  // As an operator calls it: the program sees to the threads itself.
  place.prefix = ["env", "-u", "UV_THREADPOOL_SIZE"];
  const count = Math.min(navigator.hardwareConcurrency, 12);
  const checkpoints = Array.from({ length: count }, (_, i) => ({ file: join(place.dir, `${i}.cp`) }));
  place.configure({ servers: [], policies: [], audit: { checkpoints } });
  await place.key("alice");
  for (const { file } of checkpoints) hang(file);
  expect(await place.cli(["keys", "freeze"])).toMatchObject({ code: 0, stdout: expect.stringContaining("frozen") });
  expect(await place.json("keys", "list")).toMatchObject({ frozen: true });
}, 40_000);
