import { expect, test } from "bun:test";
import { moduleAt, noStrace, traced } from "../support/processes.ts";
import { TempDir } from "../support/temp-dir.ts";

test.skipIf(noStrace)(
  "D8 store: copied pages are synced at once, not during the restart of the log, which locks the writer out (needs strace)",
  async () => {
    using at = new TempDir();
    const code = `
      import { Database } from "bun:sqlite";
      import { openChain } from ${moduleAt("store/sqlite/chain.ts")};
      import { openWalCheckpointer } from ${moduleAt("store/sqlite/wal-checkpointer.ts")};
      const path = ${JSON.stringify(at.path("main.db"))};
      const chain = openChain(path);
      let seq = 0;
      const append = () => chain.append([{ seq: ++seq, rec: "x".repeat(9000), leaf: new Uint8Array(32), payload: null }]);
      for (let n = 0; n < 20; n++) append();
      const reader = new Database(path, { readonly: true });
      reader.run("BEGIN");
      reader.query("SELECT count(*) FROM audit").get();
      // New records cannot be copied yet, as with a writer that continues; SQLite then syncs only the log.
      append();
      openWalCheckpointer(path, { copy: 0, restart: 0, truncate: 1 << 30 }).run();`;
    const calls = (await traced("pwrite64,fdatasync", code)).matchAll(/(pwrite64|fdatasync)\(\d+<[^>]*main\.db>/g);
    expect([...calls].map(([, call]) => call).join(" ")).toMatch(/pwrite64 fdatasync/);
  },
  30_000,
);
