import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, readFileSync } from "node:fs";
import { type Daemon, Place } from "../support/daemon.ts";
import { asNobody, canBecomeNobody, type Ran } from "../support/processes.ts";
import { linesOf } from "../support/seen.ts";

setDefaultTimeout(30_000);

/** Two groups of this machine, and their ids. */
const [admins, readers] = readFileSync("/etc/group", "utf8")
  .split("\n")
  .map((line) => line.split(":"))
  .map(([name = "", , gid]) => ({ name, gid: Number(gid) }))
  .filter(({ gid }) => gid > 0 && gid < 65_534);

describe.skipIf(!canBecomeNobody || !admins || !readers)(
  "another user on the control socket (needs setpriv as root)",
  () => {
    let place: Place;
    let daemon: Daemon;
    let socket: string;

    beforeAll(async () => {
      place = new Place({});
      socket = place.path("run", "control.sock");
      place.configure({ control: { socket, adminGroup: admins?.name, readGroup: readers?.name } });
      chmodSync(place.dir, 0o711);
      mkdirSync(place.path("run"));
      // As in the unit: members of the group may connect.
      chownSync(place.path("run"), 0, 65_534);
      chmodSync(place.path("run"), 0o2750);
      daemon = await place.start();
    });
    afterAll(async () => {
      await daemon.stop();
      place[Symbol.dispose]();
    });

    /** Runs a command as nobody, optionally as a member of this group. */
    const run = (gid: number | undefined, ...args: string[]): Promise<Ran> =>
      runBy(gid === undefined ? asNobody : [...asNobody.slice(0, 3), `--groups=${gid}`], ...args);

    async function runBy(who: string[], ...args: string[]): Promise<Ran> {
      place.prefix = who;
      try {
        return await place.bare([...args, "--socket", socket]);
      } finally {
        place.prefix = [];
      }
    }

    test("R124 T50: may do what the groups in the configuration allow", async () => {
      const [status, freeze] = [
        ["status", "--json"],
        ["keys", "freeze"],
      ];
      const denied = (why: string) => ({ code: 1, stdout: "", stderr: expect.stringContaining(why) });
      for (const args of [status, freeze])
        expect(await run(undefined, ...args)).toMatchObject(denied("may only attach"));
      expect(await run(readers?.gid, ...status)).toMatchObject({ code: 0 });
      expect(await run(readers?.gid, ...freeze)).toMatchObject(denied("requires an administrator"));
      // Without a key only administrators are callers.
      const keyless = { code: 1, stderr: expect.stringContaining("is not an administrator") };
      expect(await run(readers?.gid, "tools", "list")).toMatchObject(keyless);
      for (const gid of [undefined, readers?.gid]) expect(await run(gid, "serve")).toMatchObject(keyless);
      expect(await run(admins?.gid, "serve")).toMatchObject({ code: 0 });
      for (const args of [status, freeze]) expect(await run(admins?.gid, ...args)).toMatchObject({ code: 0 });
      const acts = (await place.records()).filter(({ type }) => type === "key.frozen");
      expect(acts).toMatchObject([{ caller: "local:65534" }]);
    });

    const another = (uid: number): string[] => ["setpriv", `--reuid=${uid}`, ...asNobody.slice(2)];

    /** Opens `count` connections of a user, open until its stdin ends; resolves to the number refused. */
    async function crowd(who: readonly string[], count: number) {
      const code = `
      const hello = '{"jsonrpc":"2.0","id":1,"method":"hello","params":{}}\\n';
      const heard = () => new Promise((resolve) => Bun.connect({
        unix: ${JSON.stringify(socket)},
        socket: { open: (one) => void one.write(hello), data: (_one, line) => resolve(String(line).includes("too many")) },
      }));
      const refused = await Promise.all(Array.from({ length: ${count} }, heard));
      console.log(refused.filter(Boolean).length);
      for await (const _ of Bun.stdin.stream());
      process.exit();
    `;
      const child = Bun.spawn([...who, process.execPath, "-e", code], { stdin: "pipe", stdout: "pipe" });
      for await (const refused of linesOf(child.stdout)) return { child, refused: Number(refused) };
      throw new Error("the crowd has gone");
    }

    test("T50: leaves room for administrators and other users, however many connections a user opens", async () => {
      const full = { code: 1, stderr: expect.stringContaining("too many") };
      const first = await crowd(asNobody, 240);
      expect(first.refused).toBe(240 - 168);
      expect(await run(undefined, "status")).toMatchObject(full);
      expect(await runBy(another(65_533), "status")).toMatchObject({
        code: 1,
        stderr: expect.stringContaining("may only attach"),
      });
      const second = await crowd(another(65_533), 100);
      expect(second.refused).toBe(100 - 56);
      expect(await runBy(another(65_532), "status")).toMatchObject(full);
      expect(await place.json("status", "--socket", socket)).toMatchObject({ state: "ready" });
      for (const { child } of [first, second]) {
        void child.stdin.end();
        await child.exited;
      }
    });
  },
);

test("R124: a configured group that the machine lacks is warned of, but not a missing default group", async () => {
  using place = new Place({ control: { adminGroup: "no-such-group", readGroup: "mcpgw-audit" } });
  await using daemon = await place.start();
  const warning = "control.adminGroup: /etc/group has no group no-such-group";
  expect(await daemon.logged(({ msg }) => msg.startsWith("control."))).toMatchObject({ level: "warn" });
  const warnings = await place.warnings();
  expect(warnings.filter((each) => each.startsWith("control."))).toEqual([expect.stringContaining(warning)]);
});
