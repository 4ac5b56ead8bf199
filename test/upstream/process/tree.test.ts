import { expect, test } from "bun:test";
import { findFamily } from "../../../src/upstream/process/process-table.ts";
import { endFamily } from "../../../src/upstream/process/tree.ts";
import { alive } from "../../support/processes.ts";

/**
 * A child whose own child has a session of its own, and has left a process behind in it that has no parent of the family
 * and none of its environment.
 */
async function plant() {
  const inner = "(sleep 71 & echo $!) ; echo $$; sleep 72";
  const child = Bun.spawn(["sh", "-c", `setsid env -i PATH="$PATH" sh -c '${inner}' & wait`], {
    detached: true,
    stdout: "pipe",
  });
  const reader = child.stdout.getReader();
  let said = "";
  while (said.split("\n").length < 3) {
    const { value } = await reader.read();
    said += new TextDecoder().decode(value);
  }
  const [orphan = 0, leader = 0] = said.split("\n").map(Number);
  const dispose = (): void => {
    for (const pid of [child.pid, leader, orphan]) if (alive(pid)) process.kill(pid, "SIGKILL");
  };
  return { child, leader, orphan, family: { leaders: new Set([child.pid]), marker: null }, [Symbol.dispose]: dispose };
}

test.skipIf(process.platform !== "linux")(
  "FIELD T31: a process belongs to a family by the session that another of it has begun (needs Linux)",
  async () => {
    using planted = await plant();
    const pids = (await findFamily(planted.family)).map(({ pid }) => pid);
    expect(pids).toEqual(expect.arrayContaining([planted.child.pid, planted.leader, planted.orphan]));
    expect(pids).not.toContain(process.pid);
  },
);

test.skipIf(process.platform !== "linux")(
  "FIELD T31: what only those knew that ended when they were asked to is ended too (needs Linux)",
  async () => {
    using planted = await plant();
    const { child, leader, orphan, family } = planted;
    const ask = (): void => [leader, child.pid].forEach((pid) => process.kill(pid, "SIGKILL"));
    expect(await endFamily(family, { ask, ended: child.exited }, { close: 5_000, term: 5_000 })).toEqual([]);
    expect(alive(orphan)).toBe(false);
  },
);
