import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { findSocket } from "../../src/config/client-socket.ts";
import { messageOf } from "../../src/core/error-text.ts";
import { TempDir } from "../support/temp-dir.ts";

test.each([
  ["a list", "- listen\n", "expected a group of keys"],
  ["another encoding", Buffer.from([0xff, 0xfe, 0x61]), "is not UTF-8 text"],
])("T40: a named file that is %s does not stand for the default socket", async (_name, content, why) => {
  using temp = new TempDir();
  const file = join(temp.dir, "gateway.yaml");
  writeFileSync(file, content);
  const host = { env: {}, uid: 1000, home: temp.dir, cwd: temp.dir };
  const resolving = async () => (value: string) => ({ value, secrets: [] });
  const error = await findSocket(host, { config: file }, { resolving }).catch(messageOf);
  expect(error).toStartWith(`${file}: ${why}; `);
});
