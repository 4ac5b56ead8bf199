import { expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, mkdirSync, renameSync } from "node:fs";
import { prepareSocket } from "../../src/control/socket-path.ts";
import { reasonOf } from "../support/failure.ts";
import { asNobody, ended, canBecomeNobody } from "../support/processes.ts";
import { TempDir } from "../support/temp-dir.ts";

const refusal = async (socket: string): Promise<string> => String(await reasonOf(prepareSocket(socket)));

test("a control socket is not created in a directory that others may write to", async () => {
  using at = new TempDir();
  for (const mode of [0o770, 0o707, 0o777]) {
    chmodSync(at.dir, mode);
    expect(await refusal(at.path("control.sock"))).toContain("writable by others");
  }
  chmodSync(at.dir, 0o755);
  await prepareSocket(at.path("control.sock"));
  expect(existsSync(at.path("control.sock"))).toBe(false);
});

test.skipIf(process.getuid?.() !== 0)(
  "a control socket is not created in another user's directory (needs root)",
  async () => {
    using at = new TempDir();
    mkdirSync(at.path("theirs"), { mode: 0o700 });
    chownSync(at.path("theirs"), 4242, 4242);
    expect(await refusal(at.path("theirs", "control.sock"))).toContain("belongs to uid 4242");
  },
);

/** Prepares a socket's path as user nobody. */
function preparedByNobody(socket: string) {
  const code = `
    import { prepareSocket } from ${JSON.stringify(new URL("../../src/control/socket-path.ts", import.meta.url).pathname)};
    await prepareSocket(${JSON.stringify(socket)});`;
  const env = { BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" };
  return ended(Bun.spawn([...asNobody, process.execPath, "-e", code], { env, stdout: "pipe", stderr: "pipe" }));
}

test.skipIf(!canBecomeNobody)(
  "a control socket may be in root's directory, since root may do anything anyway (needs setpriv as root)",
  async () => {
    using at = new TempDir();
    chmodSync(at.dir, 0o755);
    expect(await preparedByNobody(at.path("control.sock"))).toMatchObject({ code: 0, stderr: "" });
  },
);

test.skipIf(!canBecomeNobody)(
  "a socket without permission to connect is left alone, since a daemon may listen on it (needs setpriv as root)",
  async () => {
    using at = new TempDir();
    chownSync(at.dir, 65534, 65534);
    const [made, socket] = [at.path("made.sock"), at.path("control.sock")];
    const listener = Bun.listen({ unix: made, socket: { data() {} } });
    // The system shows the name that it was bound to.
    renameSync(made, socket);
    chmodSync(socket, 0o600);
    const { code, stderr } = await preparedByNobody(socket);
    expect([code, stderr]).toEqual([1, expect.stringContaining("another daemon is running there")]);
    expect(existsSync(socket)).toBe(true);
    listener.stop(true);
  },
);
