import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "../../src/control/client.ts";
import { hasListener } from "../../src/control/socket-path.ts";
import { silent } from "../../src/core/log.ts";
import { listenWith, serverPerTest } from "../support/control-server.ts";
import { reasonOf } from "../support/failure.ts";
import { until } from "../support/until.ts";
import { writtenLog } from "../support/written-log.ts";

setDefaultTimeout(30_000);

// The file of the control socket: its creation, its permissions and its removal.

const { at, socket, start, stop } = serverPerTest();

test("R124: only owner and group may connect, and closing removes the socket", async () => {
  await start();
  expect(statSync(socket()).mode & 0o777).toBe(0o660);
  stop();
  expect(existsSync(socket())).toBe(false);
});

test("a stale socket is replaced, but a live one or any other file is kept", async () => {
  const crashed = Bun.spawn([
    process.execPath,
    "-e",
    `Bun.listen({unix: ${JSON.stringify(socket())}, socket: {data() {}}}); process.kill(process.pid, "SIGKILL")`,
  ]);
  await crashed.exited;
  expect(statSync(socket()).isSocket()).toBe(true);
  await start();
  expect(await reasonOf(listenWith(socket()))).toMatchObject({
    message: expect.stringContaining("another daemon is running"),
  });
  stop();
  for (const make of [
    () => writeFileSync(socket(), "precious"),
    () => mkdirSync(socket()),
    () => symlinkSync("/etc/hosts", socket()),
  ]) {
    make();
    expect(await reasonOf(start())).toMatchObject({
      message: expect.stringContaining("the file there is not a socket"),
    });
    expect(existsSync(socket())).toBe(true);
    rmSync(socket(), { recursive: true });
  }
});

test("a socket that is deleted, even with its directory, is created again, and open connections stay", async () => {
  const path = at().path("run", "control.sock");
  const warned: unknown[] = [];
  await start({}, { path, log: { ...silent, warn: (message, facts) => void warned.push([message, facts]) } });
  expect(statSync(at().path("run")).mode & 0o777).toBe(0o700);
  const client = await connect(path, { version: "1" });
  for (const gone of [path, at().path("run")]) {
    rmSync(gone, { recursive: true });
    await until(() => existsSync(path), "the socket");
    expect(statSync(path).mode & 0o777).toBe(0o660);
    const again = await connect(path, { version: "1" });
    expect(await again.call("keys.list", {})).toEqual(await client.call("keys.list", {}));
    again.close();
  }
  client.close();
  const told = ["the control socket was deleted; listening on a new one", { socket: path }];
  expect(warned).toEqual([told, told]);
  stop();
  expect(existsSync(path)).toBe(false);
  // Nobody listens on the deleted ones either.
  expect(hasListener(path)).toBe(false);
});

test("a closed socket is not created again, and a socket that cannot be is logged once a minute", async () => {
  const [closed, run] = [at().path("closed.sock"), at().path("run")];
  const { lines, log } = writtenLog();
  (await listenWith(closed)).close();
  const blocked = await listenWith(`${run}/control.sock`, {}, { log });
  rmSync(run, { recursive: true });
  writeFileSync(run, "");
  await start();
  // All of them check equally often.
  for (let look = 0; look < 3; look++) {
    rmSync(socket());
    await until(() => existsSync(socket()), "the socket");
  }
  blocked.close();
  expect(existsSync(closed)).toBe(false);
  expect(lines).toEqual([expect.stringContaining("the control socket cannot be opened again")]);
});

test("another daemon's socket at the path is left alone, and the own one returns when it is gone", async () => {
  await start();
  rmSync(socket());
  const passing = Bun.listen({ unix: socket(), socket: { data() {} } });
  passing.stop();
  await until(() => existsSync(socket()), "the socket");
  rmSync(socket());
  const other = Bun.listen({ unix: socket(), socket: { data() {} } });
  const { ino } = statSync(socket());
  stop();
  expect(statSync(socket()).ino).toBe(ino);
  other.stop();
});

test("closing works even if a file has replaced the directory", async () => {
  await start({}, { path: at().path("run", "control.sock") });
  rmSync(at().path("run"), { recursive: true });
  writeFileSync(at().path("run"), "");
  expect(stop).not.toThrow();
});

test.each([0o720, 0o702])("a directory that others may write to is refused", async (mode) => {
  chmodSync(at().dir, mode);
  expect(await reasonOf(start())).toMatchObject({ message: expect.stringContaining("writable by others") });
});
