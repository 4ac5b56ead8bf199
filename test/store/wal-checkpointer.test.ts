import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { noStrace, strace } from "../support/processes.ts";
import { TempDir } from "../support/temp-dir.ts";

const moduleAt = (name: string): string =>
  JSON.stringify(new URL(`../../src/store/sqlite/${name}`, import.meta.url).pathname);

test.skipIf(noStrace)(
  "D8 store: what is copied is synced at once, and not while the log is started over, which keeps the writer out (needs strace)",
  async () => {
    using at = new TempDir();
    const log = at.path("strace");
    const code = `
      import { Database } from "bun:sqlite";
      import { openChain } from ${moduleAt("chain.ts")};
      import { openWalCheckpointer } from ${moduleAt("wal-checkpointer.ts")};
      const path = ${JSON.stringify(at.path("main.db"))};
      const chain = openChain(path);
      let seq = 0;
      const append = () => chain.append([{ seq: ++seq, rec: "x".repeat(9000), leaf: new Uint8Array(32), payload: null }]);
      for (let n = 0; n < 20; n++) append();
      const reader = new Database(path, { readonly: true });
      reader.run("BEGIN");
      reader.query("SELECT count(*) FROM audit").get();
      // What comes now cannot be copied yet, as with a writer that goes on; SQLite then syncs the log only.
      append();
      openWalCheckpointer(path, { copy: 0, restart: 0, truncate: 1 << 30 }).run();`;
    const traced = [strace, "-f", "-y", "-o", log, "-e", "trace=pwrite64,fdatasync", "-e", "signal=none"];
    expect(await Bun.spawn([...traced, process.execPath, "-e", code]).exited).toBe(0);
    const calls = readFileSync(log, "utf8").matchAll(/(pwrite64|fdatasync)\(\d+<[^>]*main\.db>/g);
    expect([...calls].map(([, call]) => call).join(" ")).toMatch(/pwrite64 fdatasync/);
  },
  30_000,
);
