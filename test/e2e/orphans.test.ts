import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { alive, commandOf } from "../support/processes.ts";
import { everything, fake, start } from "../support/daemon.ts";
import { until } from "../support/until.ts";

// A server's process that hides its origin: its own session, an empty environment, and a parent that has exited.
// The tests run concurrently, as they mostly wait for processes to end.

setDefaultTimeout(30_000);

const linux = process.platform === "linux";

// The era is not detected by an extra process, since the end of that process could also end the hidden one.
const plain = (id: string) => fake(id, [], { protocol: "legacy", isolation: "shared" });

/** Returns a server that leaves such a process behind before it serves; each start leaves another. */
function leaving(id: string, mark: string) {
  const { command, args, ...rest } = plain(id);
  const script = `(setsid env -i sleep ${mark} &) ; exec "$@"`;
  return { ...rest, command: "sh", args: ["-c", script, "sh", command, ...args] };
}

const left = (mark: string): number[] =>
  readdirSync("/proc")
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && commandOf(pid) === `sleep ${mark}` && alive(pid));

const ends = {
  "a reload without its server": async ({ place }: Awaited<ReturnType<typeof start>>) => {
    place.configure({ servers: [plain("b")], policies: [everything()] });
    await place.cli(["config", "reload"]);
  },
  SIGTERM: (daemon: Awaited<ReturnType<typeof start>>) => daemon.stop("SIGTERM"),
  SIGKILL: (daemon: Awaited<ReturnType<typeof start>>) => daemon.stop("SIGKILL"),
};

test.concurrent.skipIf(!linux).each(Object.entries(ends))(
  "FIELD T31: it does not survive %s (needs Linux)",
  async (_name, end) => {
    const mark = `9${Math.floor(Math.random() * 1e9)}`;
    await using daemon = await start({ servers: [leaving("a", mark), plain("b")], policies: [everything()] });
    await daemon.logged(({ msg }) => msg.startsWith("processes were left behind"));
    const pids = left(mark);
    expect(pids.length).toBeGreaterThan(0);
    await end(daemon);
    await until(() => pids.filter(alive).length === 0, "what was left behind is gone", 10_000);
  },
);

test.concurrent.skipIf(!linux)(
  "FIELD T31: a restart of its server ends it, and the server serves again (needs Linux)",
  async () => {
    const mark = `9${Math.floor(Math.random() * 1e9)}`;
    await using daemon = await start({ servers: [leaving("a", mark), plain("b")], policies: [everything()] });
    const { place } = daemon;
    const key = await place.key("alice");
    await until(() => left(mark).length > 0, "it is left behind");
    const before = left(mark);
    const other = (await place.json("servers", "show", "b")) as { server: { pids: number[] } };
    expect((await place.cli(["servers", "restart", "a"])).code).toBe(0);
    expect(before.filter(alive)).toEqual([]);
    expect((await daemon.call("a__echo", {}, key)).json).toMatchObject({ result: { content: [{}] } });
    expect(await place.json("servers", "show", "b")).toMatchObject({ server: { pids: other.server.pids } });
  },
);
