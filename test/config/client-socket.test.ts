import { expect, test } from "bun:test";
import { chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findSocket } from "../../src/config/client-socket.ts";
import { messageOf } from "../../src/core/error-text.ts";
import { isRoot } from "../support/processes.ts";
import { TempDir } from "../support/temp-dir.ts";

const resolving = async () => (value: string) => ({ value, secrets: [] });

test.each([
  ["a list", "- listen\n", "expected a mapping (key: value)"],
  ["another encoding", Buffer.from([0xff, 0xfe, 0x61]), "is not UTF-8 text"],
])("T40: a named file that is %s is an error, and does not lead to the default socket", async (_name, content, why) => {
  using temp = new TempDir();
  const file = join(temp.dir, "gateway.yaml");
  writeFileSync(file, content);
  const host = { env: {}, uid: 1000, home: temp.dir, cwd: temp.dir };
  const error = await findSocket(host, { config: file }, { resolving }).catch(messageOf);
  expect(error).toStartWith(`${file}: ${why}; `);
  const socket = join(temp.dir, "named.sock");
  expect(await findSocket(host, { config: file, socket }, { resolving })).toEqual({ socket, doubt: null });
});

test("./gateway.yaml names the socket only for commands that may read it", async () => {
  using temp = new TempDir();
  const file = join(temp.dir, "gateway.yaml");
  writeFileSync(file, "control: { socket: own.sock }\n", { mode: 0o600 });
  const uid = isRoot ? 1000 : (process.getuid?.() ?? 0);
  if (isRoot) chownSync(file, uid, uid);
  const host = { env: {}, uid, home: temp.dir, cwd: temp.dir };
  const found = async (local: boolean) => (await findSocket(host, { local }, { resolving })).socket;
  expect(await found(true)).toBe(join(temp.dir, "own.sock"));
  expect(await found(false)).not.toBe(join(temp.dir, "own.sock"));
  expect((await findSocket(host, {}, { resolving })).socket).toBe(await found(false));
});
