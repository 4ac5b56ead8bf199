import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { everything, fake, Place, servesParent } from "../support/daemon.ts";
import { mcpgw, mcpgwLine } from "../support/mcpgw.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { until } from "../support/until.ts";
import { modern, request, textOf, toolCall } from "../support/wire.ts";

// Clients on standard streams that read slowly or never, or write more than is accepted, with and without a daemon.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = {
  auth: servesParent,
  servers: [fake("fake")],
  policies: [everything(), everything("admin")],
};

// These four mostly wait for what the client does not read. The first call starts the server's process, because a start
// is not awaited for a client that has closed its end.
test.concurrent.each([true, false])(
  "R22: a large answer arrives complete although the client has closed its end by then (daemon: %p)",
  async (daemon) => {
    using place = new Place(config);
    await using _beside = daemon ? await place.start() : null;
    await using client = new StdioClient(place);
    await client.call("fake__echo");
    client.send(toolCall("fake__big", { size: 4_000_000 }, "big"));
    await until(() => place.calls("fake").includes("big"), "the call runs");
    expect(await client.end()).toBe(0);
    expect(textOf(await client.answer("big"))).toHaveLength(4_000_000);
  },
);

test.concurrent.each([true, false])(
  "R22: it also arrives complete if the client pauses before it reads the end (daemon: %p)",
  async (daemon) => {
    using place = new Place(config);
    await using _beside = daemon ? await place.start() : null;
    await using client = new StdioClient(place);
    await client.call("fake__echo");
    const reading = Promise.withResolvers<void>();
    client.hold = reading.promise;
    client.send(toolCall("fake__big", { size: 4_000_000 }, "big"));
    const call = async () => (await place.records()).findLast(({ type }) => type === "call.end");
    await until(async () => (await call())?.tool === "big", "the call ends", 15_000);
    const ended = client.end();
    // Longer than the process waits for its last output after a failure.
    expect(await Promise.race([ended, Bun.sleep(1_500)])).toBeUndefined();
    reading.resolve();
    expect(await ended).toBe(0);
    expect(textOf(await client.answer("big"))).toHaveLength(4_000_000);
  },
);

test.each([true, false])("R22: a result may be as long as limits.result allows (daemon: %p)", async (daemon) => {
  using place = new Place({ ...config, limits: { result: "48MiB" } });
  await using _beside = daemon ? await place.start() : null;
  await using client = new StdioClient(place);
  await client.open();
  expect(textOf(await client.call("fake__big", { size: 40_000_000 }))).toHaveLength(40_000_000);
});

describe.each([false, true])("a client that does not read (daemon: %p)", (daemon) => {
  test("loses progress, but no result, and progress does not fill memory without limit", async () => {
    using place = new Place(config);
    await using beside = daemon ? await place.start() : null;
    await using client = new StdioClient(place);
    await client.open();
    const reading = Promise.withResolvers<void>();
    client.hold = reading.promise;
    const total = 10_000;
    const args = { total, message: "m".repeat(2_000) };
    client.send(request("tools/call", { name: "fake__progress", arguments: args, _meta: { progressToken: 1 } }, "p"));
    await until(async () => (await place.records()).some(({ type }) => type === "call.end"), "the call ends", 15_000);
    if (beside) expect((await beside.get("/metrics")).text).toMatch(/^mcpgw_notifications_lost_total [1-9]/m);
    reading.resolve();
    expect(textOf(await client.answer("p"))).toBe("done");
    const progress = client.lines.filter((line) => line.includes("notifications/progress"));
    expect(progress.length).toBeGreaterThan(0);
    // Of 20 MB: the queues of both processes, and the kernel's buffers.
    expect(progress.join("").length).toBeLessThan(4 * 2 ** 20);
    expect(await client.ask("ping")).toMatchObject({ result: {} });
    expect(await client.end()).toBe(0);
  });

  test("is disconnected once more results wait than it could have asked for", async () => {
    using place = new Place({ ...config, limits: { result: "1MiB" } });
    await using beside = daemon ? await place.start() : null;
    await using client = new StdioClient(place);
    await client.open();
    const reading = Promise.withResolvers<void>();
    client.hold = reading.promise;
    client.send(toolCall("fake__hang", {}, "hung"));
    for (let id = 0; id < 20; id++) client.send(toolCall("fake__big", { size: 1_000_000 }, id));
    await until(async () => (await place.records()).some(({ type }) => type === "session.close"), "its end", 15_000);
    // Beside a daemon the process waits for a client that may still read.
    if (daemon) reading.resolve();
    expect(await client.child.exited).toBe(1);
    expect(await client.stderr).toContain("The client left too much unread.");
    if (beside) {
      const { principal, bytes } = await beside.logged(({ msg }) => msg.includes("left too much unread"));
      expect([principal, Number(bytes) > 5 * 2 ** 20]).toEqual([`local:${process.getuid?.()}`, true]);
    }
    const hung = (await place.records()).find(({ type, tool }) => type === "call.end" && tool === "hang");
    expect(hung).toMatchObject({ st: "lost", reason: expect.stringContaining(daemon ? "too much unread" : "") });
  });
});

test("T20: beside a daemon a message may be as long as limits.body; a longer one is refused and recorded, and the connection stays usable", async () => {
  using place = new Place({ ...config, limits: { body: "66MiB" } });
  await using _beside = await place.start();
  await using client = new StdioClient(place);
  const ping = (id: number, size: number): void =>
    client.send(`{"jsonrpc":"2.0","id":${id},"method":"ping","params":{"x":"${"y".repeat(size)}"}}`);
  expect(await client.open()).toMatchObject({ result: {} });
  ping(1, 67 * 2 ** 20);
  expect(await client.answer(1)).toMatchObject({ error: { code: -32600 } });
  ping(2, 65 * 2 ** 20);
  expect(await client.answer(2)).toMatchObject({ result: {} });
  const refused = (await place.records()).filter(({ type }) => type === "call.refused");
  expect(refused).toMatchObject([{ rpc: "1", code: "body-too-large" }]);
});

test("R22: without a daemon, a client that reads nothing more counts as disconnected, even if standard input stays open", async () => {
  using place = new Place(config);
  const line = mcpgwLine("serve", ...place.flags());
  const child = Bun.spawn(["bash", "-c", `${line} | head -n 1; exit \${PIPESTATUS[0]}`], {
    env: place.env(),
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
  });
  const send = async (message: unknown): Promise<void> => {
    await child.stdin.write(`${JSON.stringify(message)}\n`);
    await child.stdin.flush();
  };
  await send(modern("tools/call", { name: "fake__hang", arguments: {} }, { id: "hung" }).body);
  await until(() => place.calls("fake").includes("hang"), "the call runs");
  // Only a write shows that no one reads.
  const isOver = async (): Promise<boolean> => {
    await send(modern("server/discover", {}).body).catch(() => {});
    return child.exitCode !== null;
  };
  await until(isOver, "it to end", 10_000);
  expect(child.exitCode).toBe(0);
  const ends = (await place.records()).filter(({ type }) => type === "call.end");
  expect(ends).toMatchObject([{ tool: "hang", st: "cancelled" }]);
});

test.each([true, false])("R22: a full standard output is reported (daemon: %p)", async (daemon) => {
  using place = new Place(config);
  await using _beside = daemon ? await place.start() : null;
  const child = Bun.spawn(["bash", "-c", `${mcpgwLine("serve", ...place.flags())} > /dev/full`], {
    env: place.env({ MCPGW_API_KEY: await place.key("alice") }),
    stdin: Buffer.from(`${JSON.stringify(request("ping", {}, 1))}\n`),
    stdout: "ignore",
    stderr: "pipe",
  });
  expect(await child.stderr.text()).toMatch(/mcpgw: .*ENOSPC.*\n$/);
  expect(await child.exited).toBe(1);
});

test.each([true, false])("T20: a line without an end ends `serve`, which reports it (daemon: %p)", async (daemon) => {
  using place = new Place(config);
  await using _beside = daemon ? await place.start() : null;
  await using client = new StdioClient(place);
  const hung = client.call("fake__hang");
  await until(() => place.calls("fake").includes("hang"), "the call runs");
  client.send("y".repeat(128 * 2 ** 20 + 1));
  expect(JSON.stringify(await hung)).toContain("may have run");
  expect(await client.child.exited).toBe(1);
  expect(await client.stderr).toContain("The client sent a line of more than 128 MiB.");
});

test.each(["alone", "unconfigured"])("T20: endless input without lines ends `serve` (%s)", async (how) => {
  using place = new Place(how === "alone" ? config : { listen: 1 });
  const child = Bun.spawn([...mcpgw, "serve", ...place.flags()], {
    env: place.env(),
    stdin: Bun.file("/dev/zero"),
    stdout: "ignore",
    stderr: "pipe",
    // Only this signal would end it, since it would never handle another one.
    timeout: 20_000,
    killSignal: "SIGKILL",
  });
  const told = await child.stderr.text();
  expect(await child.exited).toBe(how === "alone" ? 1 : 2);
  expect(told).toContain(how === "alone" ? "The client sent a line of more than 128 MiB." : "listen");
});
