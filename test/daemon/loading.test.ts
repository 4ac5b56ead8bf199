import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadingFrom } from "../../src/daemon/loading.ts";
import { TempDir } from "../support/temp-dir.ts";

test("R17: a configuration takes the credentials that systemd hands to the process", () => {
  using at = new TempDir();
  writeFileSync(join(at.dir, "token"), "from-systemd\n");
  const { resolve } = loadingFrom("/", { CREDENTIALS_DIRECTORY: at.dir });
  expect(resolve("${credential:token}").value).toBe("from-systemd");
});
