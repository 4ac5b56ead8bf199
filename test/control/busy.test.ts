import { expect, setDefaultTimeout, test } from "bun:test";
import { attach } from "../../src/control/client.ts";
import { mcpgw } from "../support/mcpgw.ts";
import { bareEnv } from "../support/sample.ts";
import { TempDir } from "../support/temp-dir.ts";
import { listenWith } from "../support/control-server.ts";

setDefaultTimeout(30_000);

test.skipIf(process.platform !== "linux")(
  "D15: a daemon with a full connection queue is reported as busy, not as absent, and --wait waits for it (needs Linux)",
  async () => {
    using at = new TempDir();
    const socket = at.path("control.sock");
    const listener = `require("node:net").createServer().listen(${JSON.stringify(socket)}, () => console.log("up"))`;
    await using child = Bun.spawn([process.execPath, "-e", listener], { stdout: "pipe" });
    for await (const _ of child.stdout) break;
    child.kill("SIGSTOP");
    const open: Bun.Socket[] = [];
    const full = async (): Promise<boolean> => {
      const one = await Bun.connect({ unix: socket, socket: { data() {} } }).catch(() => null);
      if (one) open.push(one);
      return one === null;
    };
    while (!(await full())) expect(open.length).toBeLessThan(10_000);
    const refused = await attach(socket, { version: "1" }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ name: "Refusal", code: "busy" });
    const began = performance.now();
    const waiting = Bun.spawn([...mcpgw, "status", "--wait", "2", "--socket", socket], {
      env: bareEnv(at.dir),
      stderr: "pipe",
    });
    expect(await waiting.stderr.text()).toContain("accepts no more connections right now");
    expect(performance.now() - began).toBeGreaterThan(2_000);
    const second = await listenWith(socket).catch(String);
    expect(second).toContain("another daemon is running there");
    for (const one of open) one.end();
    child.kill("SIGKILL");
  },
);
