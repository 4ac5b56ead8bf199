import { afterAll, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { lockHolder, peerCredentials, reap, sdNotify, tryLock } from "../../src/core/libc.ts";
import { asNobody, isRoot, canBecomeNobody, moduleAt } from "../support/processes.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

const temp = new TempDir();
afterAll(() => temp[Symbol.dispose]());
const linux = process.platform === "linux";

/** Runs a program that has the functions of libc.ts in scope. */
function run(body: string, env: Record<string, string> = {}, prefix: readonly string[] = []) {
  const code = `import * as libc from ${moduleAt("core/libc.ts")}; import fs from "node:fs"; ${body}`;
  return Bun.spawn([...prefix, process.execPath, "-e", code], { env, stdout: "pipe", stderr: "pipe" });
}
const output = (child: ReturnType<typeof run>) => new Response(child.stdout).text();

test("a lock excludes other processes, names its holder and ends with its process", async () => {
  const path = temp.path("lock");
  const child = run(`libc.tryLock(${JSON.stringify(path)}); console.log("held"); await Bun.sleep(20_000)`);
  const reader = child.stdout.getReader();
  await reader.read();
  expect(tryLock(path)).toBeNull();
  expect(lockHolder(path)).toBe(child.pid);
  child.kill("SIGKILL");
  await child.exited;
  const lock = tryLock(path);
  expect(lock).not.toBeNull();
  expect(lockHolder(path)).toBe(process.pid);
  expect(tryLock(path)).toBeNull();
  lock?.[Symbol.dispose]();
  lock?.[Symbol.dispose]();
  const again = tryLock(path);
  expect(again).not.toBeNull();
  again?.[Symbol.dispose]();
});

test("children that the lock's holder spawns do not keep the lock", async () => {
  const path = temp.path("inherited");
  const lock = tryLock(path);
  const child = Bun.spawn(["sleep", "20"]);
  lock?.[Symbol.dispose]();
  // After a vfork, the parent continues a moment before exec closes the descriptors.
  const free = await until(() => tryLock(path), "the lock to be free", 500);
  expect(child.exitCode).toBeNull();
  child.kill();
  free[Symbol.dispose]();
});

test("lockHolder is null without a pid to read", () => {
  expect(lockHolder(temp.path("absent"))).toBeNull();
});

test("the peer of a Unix socket is the process that connected", async () => {
  const path = temp.path("peer.sock");
  const { promise, resolve } = Promise.withResolvers<ReturnType<typeof peerCredentials>>();
  const open = (socket: object) => resolve(peerCredentials("fd" in socket ? Number(socket.fd) : -1));
  const server = Bun.listen({ unix: path, socket: { open, data() {} } });
  const child = run(
    `await Bun.connect({ unix: ${JSON.stringify(path)}, socket: { data() {} } }); await Bun.sleep(20_000)`,
  );
  const peer = await promise;
  child.kill();
  server.stop(true);
  expect(peer).toMatchObject({ uid: process.getuid?.(), gid: process.getgid?.(), pid: child.pid });
  expect(new Set(peer.groups)).toEqual(new Set(process.getgroups?.()));
});

test("peerCredentials throws on a descriptor that is not a socket", () => {
  expect(() => peerCredentials(9999)).toThrow("EBADF");
});

test("sdNotify without a service manager does nothing", () => {
  expect(sdNotify("READY=1", "")).toBe(false);
});

// Neither Bun nor Node has Unix datagram sockets, so Python plays the service manager.
const listen = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
s.bind("\\0" + name[1:] if name[0] == "@" else name)
print("up", flush=True)
print(s.recv(100).decode())`;

test.skipIf(!linux || !Bun.which("python3")).each([temp.path("notify.sock"), `@mcpgw-test-${process.pid}`])(
  "sdNotify reaches %s (needs Linux and python3)",
  async (address) => {
    const manager = Bun.spawn(["python3", "-c", listen, address], { stdout: "pipe" });
    let output = "";
    for await (const chunk of manager.stdout) {
      if (output === "") expect(sdNotify("READY=1\nSTATUS=ü", address)).toBe(true);
      output += new TextDecoder().decode(chunk);
    }
    expect(output).toBe("up\nREADY=1\nSTATUS=ü\n");
  },
);

test.skipIf(!linux)("a failing sdNotify reports the reason and leaves no socket open (needs Linux)", () => {
  const open = readdirSync("/proc/self/fd").length;
  const times = 20;
  for (let at = 0; at < times; at++) expect(() => sdNotify("READY=1", temp.path("nobody.sock"))).toThrow("ENOENT");
  // Other descriptors of this process may open and close in the meantime.
  expect(readdirSync("/proc/self/fd").length).toBeLessThan(open + times / 2);
});

test.skipIf(!linux)(
  "execve replaces the program under the same pid with the given environment (needs Linux)",
  async () => {
    const child = run(`libc.execve("/bin/sh", ["sh", "-c", "echo $$ $MARK"], { MARK: "x y" })`);
    expect(await output(child)).toBe(`${child.pid} x y\n`);
  },
);

test("execve of a program that does not exist throws", async () => {
  const child = run(`try { libc.execve("/no/such", ["x"], {}) } catch (error) { console.log(error.message) }`);
  expect(await output(child)).toContain("ENOENT");
});

test.skipIf(!linux || (isRoot && !canBecomeNobody))(
  "a process that is not dumpable hides its environment from its children (needs Linux, and setpriv as root)",
  async () => {
    const spawn = `Bun.spawnSync(["cat", "/proc/" + process.pid + "/environ"], { stdout: "pipe", stderr: "ignore" }).stdout.toString().includes("canary")`;
    const body = `console.log(${spawn}); libc.setNonDumpable(); console.log(${spawn})`;
    // Root can read the environment of every process.
    const child = run(body, { SECRET: "canary" }, isRoot ? asNobody : []);
    expect(await output(child)).toBe("true\nfalse\n");
  },
);

test.skipIf(!linux)("a subreaper adopts and reaps orphans (needs Linux)", async () => {
  const child = run(`
    libc.setSubreaper();
    const shell = Bun.spawn(["sh", "-c", "sh -c 'echo $$; exec sleep 0.05' & exit 0"], { stdout: "pipe" });
    const text = await new Response(shell.stdout).text();
    const orphan = Number(text);
    let reaped = false;
    for (let i = 0; i < 400 && !reaped; i++) { await Bun.sleep(5); reaped = libc.reap(orphan); }
    console.log(reaped, fs.existsSync("/proc/" + orphan));
  `);
  expect(await output(child)).toBe("true false\n");
});

test("reap leaves a running child alone", async () => {
  const child = Bun.spawn(["sleep", "20"]);
  expect(reap(child.pid)).toBe(false);
  child.kill();
  await child.exited;
  expect(await until(() => reap(child.pid), "reaped")).toBe(true);
});

test.skipIf(!linux)("Bun starts a detached child in its own session (needs Linux)", async () => {
  const child = Bun.spawn(["sleep", "20"], { detached: true });
  const stat = readFileSync(`/proc/${child.pid}/stat`, "utf8");
  const [, , group, session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  child.kill();
  expect([Number(group), Number(session)]).toEqual([child.pid, child.pid]);
});
