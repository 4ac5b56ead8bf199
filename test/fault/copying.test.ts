import { expect, setDefaultTimeout, test } from "bun:test";
import { statfsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openState } from "../../src/store/open.ts";
import { openUsageStore, readUsage } from "../../src/store/sqlite/usage.ts";
import { openBroker, runCall, tempState } from "../support/audit.ts";
import { everything, fake, Place } from "../support/daemon.ts";
import { fullDisk } from "../support/full-disk.ts";
import { isRoot, moduleAt, noStrace, strace } from "../support/processes.ts";
import { canMount, mountTmpfs } from "../support/tmpfs.ts";
import { until } from "../support/until.ts";

// The databases' journals cannot be copied into them, or files made from the log cannot be synced.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = { servers: [fake("fake")], policies: [everything()] };

test.skipIf(noStrace || !isRoot)(
  "T05, P5: a failed sync while the journal is copied ends the daemon, and the next one continues (needs strace and root)",
  async () => {
    using place = new Place(config);
    const key = await place.key("alice");
    const path = join(place.state, "audit/main.db");
    const failing = ["-P", path, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"];
    place.prefix = [strace, "-f", "--seccomp-bpf", "-o", "/dev/null", ...failing];
    await using daemon = await place.start();
    // A short journal is not copied.
    const args = { filler: "x".repeat(60_000) };
    while (!daemon.exited) await daemon.call("fake__echo", args, key).catch(() => null);
    expect(await daemon.child.exited).toBe(1);
    expect(await daemon.logged(({ level }) => level === "error")).toMatchObject({
      msg: "the disk failed under the audit log; exiting at once, because written records may be lost",
      reason: expect.stringContaining(`fdatasync ${path}: EIO`),
    });
    place.prefix = [];
    await using next = await place.start();
    expect((await next.call("fake__echo", {}, key)).status).toBe(200);
    await next.stop();
    expect((await place.cli(["audit", "verify"])).code).toBe(0);
  },
);

test.skipIf(!canMount())(
  "T04, D8: while the log's disk is full, mcpgw.db on another disk is still copied, and calls are counted (needs a tmpfs)",
  async () => {
    using disk = mountTmpfs("24m");
    if (!disk) throw new Error("a file system that could be mounted before cannot be mounted now");
    using place = new Place({ ...config, audit: { payloads: "full", path: join(disk.dir, "log.db") } });
    await using daemon = await place.start();
    const key = await place.key("alice");
    // Room for a journal that is long enough to be copied, but not for the copy.
    const { bavail, bsize } = statfsSync(disk.dir);
    writeFileSync(join(disk.dir, "filler"), new Uint8Array(bavail * bsize - 3 * 1024 ** 2));
    const args = { filler: "x".repeat(60_000) };
    while ((await daemon.call("fake__echo", args, key)).status === 200) continue;
    await daemon.logged(({ msg, cause }) => msg === "housekeeping failed" && String(cause).includes("log.db"));
    const path = join(place.state, "mcpgw.db");
    using state = openState(place.state);
    const tools = ["x".repeat(64 << 10)];
    const none = { prompts: [], resources: [], resourceTemplates: [], capabilities: "{}", instructions: null };
    for (let n = 0; n < 40; n++) state.remember(`crm-${n}`, "h", { ...none, era: "legacy", tools });
    await until(() => statSync(path).size > 2 << 20, "mcpgw.db is copied", 10_000);
    const isCounted = () => (readUsage(path, {}).rows[0]?.calls ?? 0) > 0;
    await until(isCounted, "the calls are counted", 10_000);
  },
);

test.skipIf(noStrace)(
  "T05: if the index cannot be synced, the process is told to end, even if usage cannot be counted either (needs strace)",
  async () => {
    using at = tempState();
    await using opened = await openBroker(at);
    await runCall(opened.broker);
    const path = join(at.state, "mcpgw.db");
    openUsageStore(path)[Symbol.dispose]();
    using _full = fullDisk(path, "INSERT ON usage_mark");
    const code = `
      import { silent } from ${moduleAt("core/log.ts")};
      import { HousekeeperClient } from ${moduleAt("daemon/housekeeper-client.ts")};
      const url = new URL(${JSON.stringify(new URL("../../src/daemon/housekeeper.ts", import.meta.url).href)});
      const home = { state: ${JSON.stringify(at.state)}, main: null };
      const end = (reason) => { console.log(reason); process.exit(); };
      const log = { ...silent, warn: (_, { cause }) => end("only told: " + cause) };
      setInterval(() => {}, 1000);
      new HousekeeperClient({ url, home, chain: "main", usage: true, log, fatal: end }).wake(2);`;
    const failing = ["-e", "inject=fdatasync,fsync:error=EIO", "-e", "signal=none", "-o", "/dev/null"];
    const child = Bun.spawn([strace, "-f", ...failing, process.execPath, "-e", code], {
      stdout: "pipe",
      stderr: "inherit",
    });
    expect(await child.stdout.text()).toMatch(/^(?!only told).*FSYNC/);
  },
);
