import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { everything, Place } from "../support/daemon.ts";
import { free, stall } from "../support/unanswering.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { until } from "../support/until.ts";
import { pick } from "../support/wire.ts";

// Checkpoint files, and a daemon, that never answer. The tests run concurrently, as they mostly wait.

setDefaultTimeout(40_000);

/** An installation with `count` checkpoint files. */
class CheckpointPlace extends Place {
  readonly files: readonly string[];

  constructor(count: number) {
    super("");
    this.files = Array.from({ length: count }, (_, at) => join(this.dir, `${at}.cp`));
    this.configure({
      servers: [{ id: "calculator", builtin: "calculator" }],
      policies: [everything()],
      audit: { checkpoints: this.files.map((file) => ({ file })), checkpointEvery: { records: 1 } },
    });
  }
}

/** Returns what `audit verify` reports if none of the files answers. */
const unproven = (files: readonly string[]) => ({
  code: 3,
  stdout: expect.stringMatching(new RegExp(files.map((file) => `${file} does not answer:`).join(".*\n.*"))) as unknown,
});

test.concurrent("R9 T46: checkpoint files that never answer delay neither calls, nor other evidence, nor a stop", async () => {
  using place = new CheckpointPlace(2);
  const [first = ""] = place.files;
  const key = await place.key("alice");
  const beside = (name: string) => readFileSync(join(place.heads, readdirSync(place.heads)[0] ?? "", name), "utf8");
  const head = () => Number(/"seq":(\d+)/.exec(beside("main.head"))?.[1]);
  await using daemon = await place.start();
  const call = async () => {
    const sum = { operator: "add", operands: ["1", "2"] };
    expect((await daemon.call("calculator__exact_calculate", sum, key)).status).toBe(200);
  };
  place.files.forEach(stall);
  await call();
  const told = await daemon.logged(({ msg }) => msg === "audit checkpoint not written");
  expect(told["cause"]).toBe(place.files.map((file) => `${file} does not answer`).join("; "));
  const [noted, kept] = [head(), beside("main.checkpoints").length];
  await call();
  await until(() => head() > noted, "the head note");
  await until(() => beside("main.checkpoints").length > kept, "the checkpoint beside it");
  const warning: unknown = expect.stringContaining(`${first} does not answer`);
  expect(await place.json("status")).toMatchObject({ warnings: expect.arrayContaining([warning]) });
  expect(await place.cli(["audit", "verify"])).toMatchObject(unproven(place.files));
  free(first);
  await until(() => existsSync(first), "the checkpoint in the file that answers again");
  expect(await daemon.stop()).toBe(0);
});

test.concurrent("R9 T46: checkpoint files that never answer do not delay a start, which reports that it does not compare with them", async () => {
  using place = new CheckpointPlace(2);
  await place.key("alice");
  place.files.forEach(stall);
  // The command does not find the daemon yet, since the start compares the log with the files first.
  const [starting, verified] = await Promise.all([place.start(), place.cli(["audit", "verify"])]);
  await using daemon = starting;
  expect(verified).toMatchObject(unproven(place.files));
  const untold = daemon.log.filter(({ msg }) => msg === "the log was not compared with the checkpoints in this file");
  expect(untold.map(({ file }) => file)).toEqual([...place.files]);
});

test.concurrent("R9 T46: without a daemon a freeze does not wait for unanswering checkpoint files, even if there is one per I/O thread", async () => {
  using place = new CheckpointPlace(Math.min(navigator.hardwareConcurrency, 12));
  // As an operator runs it: the program sets the number of threads itself.
  place.prefix = ["env", "-u", "UV_THREADPOOL_SIZE"];
  await place.key("alice");
  place.files.forEach(stall);
  expect(await place.cli(["keys", "freeze"])).toMatchObject({ code: 0, stdout: expect.stringContaining("frozen") });
  expect(await place.json("keys", "list")).toMatchObject({ frozen: true });
});

test.concurrent("`serve` beside a daemon that hangs ends with an error, even though no one notices that its client has disconnected", async () => {
  using place = new CheckpointPlace(0);
  await using daemon = await place.start();
  await using client = new StdioClient(place);
  await client.open();
  daemon.child.kill("SIGSTOP");
  const untaken = client.ask("ping", { x: "x".repeat(2_000_000) });
  void client.child.stdin.end();
  expect(pick(await untaken, "error.message")).toBe(
    "The daemon has stopped reading. The call may have run: check before you repeat it.",
  );
  expect(await client.child.exited).toBe(1);
  expect(await client.stderr).toContain("The daemon has stopped reading.");
});
