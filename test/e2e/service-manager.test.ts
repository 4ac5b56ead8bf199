import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { tryLock } from "../../src/core/libc.ts";
import { Daemon, daemonCommand, everything, fake, Place, start } from "../support/daemon.ts";
import { linesOf } from "../support/seen.ts";

// Notifications from the daemon to the service manager.

setDefaultTimeout(30_000);

const shared = fake("fake", [], { isolation: "shared" });
const config = { servers: [shared], policies: [everything()] };

test.skipIf(process.platform !== "linux")(
  "R114: an unreachable service manager is warned of once; the daemon serves and stops in order (needs Linux)",
  async () => {
    const env = { NOTIFY_SOCKET: `@mcpgw-nobody-${process.pid}`, WATCHDOG_USEC: "10000" };
    await using daemon = await start(config, { env });
    await daemon.logged(({ msg }) => msg === "the service manager cannot be notified");
    expect(await daemon.stop()).toBe(0);
    expect(daemon.log.at(-1)).toMatchObject({ msg: "stopped" });
    expect(daemon.log.filter(({ msg }) => msg === "the service manager cannot be notified")).toHaveLength(1);
    expect(daemon.log.filter(({ level }) => level === undefined)).toEqual([]);
  },
);

// Neither Bun nor Node has Unix datagram sockets, so Python plays the service manager.
const script = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("\\0" + sys.argv[1])
print("up", flush=True)
while True: print(" ".join(s.recv(200).decode().split("\\n")), flush=True)`;

const python = Bun.which("python3");

/** Starts a service manager that wants a keep-alive every 50 ms, and collects its notifications. */
async function manage(name: string) {
  const address = `mcpgw-${name}-${process.pid}`;
  const listening = Bun.spawn([python ?? "", "-c", script, address], { stdout: "pipe" });
  const heard = linesOf(listening.stdout);
  const next = async (): Promise<string> => {
    const { value } = await heard.next();
    if (value === undefined) throw new Error("the service manager has ended");
    return value;
  };
  expect(await next()).toBe("up");
  return {
    env: { NOTIFY_SOCKET: `@${address}`, WATCHDOG_USEC: "100000" },
    next,
    async hears(wanted: string) {
      while (!(await next()).includes(wanted));
    },
    [Symbol.asyncDispose]: () => listening[Symbol.asyncDispose](),
  };
}

const longer = "WATCHDOG=1 EXTEND_TIMEOUT_USEC=100000";
const needs = process.platform === "linux" && python !== null;

test.skipIf(!needs)(
  "R114: while its servers start the daemon asks the service manager for more time, and no longer once it is ready (needs Linux and python3)",
  async () => {
    const { command, args, ...rest } = shared;
    const late = ["-c", 'while [ ! -e gate ]; do sleep 0.02; done; exec "$@"', "sh", command, ...args];
    using place = new Place({ ...config, servers: [{ ...rest, command: "sh", args: late }] });
    await using manager = await manage("manager");
    await using daemon = new Daemon(place, place.spawn(daemonCommand, manager.env));
    expect([await manager.next(), await manager.next(), await manager.next()]).toEqual([longer, longer, longer]);
    writeFileSync(join(place.dir, "gate"), "");
    await manager.hears("READY=1");
    await daemon.ready;
    expect([await manager.next(), await manager.next()]).toEqual(["WATCHDOG=1", "WATCHDOG=1"]);
    expect(await daemon.stop()).toBe(0);
    await manager.hears("STOPPING=1 STATUS=stopping");
  },
);

test.skipIf(!needs)(
  "R114: it asks for more time while it opens its log too, which a start may read to its end, until it is to stop (needs Linux and python3)",
  async () => {
    using place = new Place(config);
    await place.newKey("alice");
    await using manager = await manage("opening");
    using held = tryLock(join(place.state, "audit/main.lock"));
    expect(held).not.toBeNull();
    const child = place.spawn(daemonCommand, manager.env);
    await using _daemon = new Daemon(place, child);
    const ended = child.exited.then((code) => `ended with ${code}`);
    for (let times = 0; times < 3; times++) expect(await Promise.race([manager.next(), ended])).toBe(longer);
    child.kill("SIGTERM");
    // The start must not use up the time for a stop.
    await manager.hears("STOPPING=1 STATUS=stopping");
    expect(await manager.next()).toBe("WATCHDOG=1");
    held?.[Symbol.dispose]();
    expect(await ended).toBe("ended with 0");
  },
);
