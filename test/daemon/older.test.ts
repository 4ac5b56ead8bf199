import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { rollUpPage } from "../../src/daemon/rollup.ts";
import { openIndexWriter } from "../../src/store/sqlite/index-writer.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { earlierIndexes, indexSchema } from "../../src/store/sqlite/schema.ts";
import { openBroker, runCall, tempState } from "../audit/support.ts";
import { linesOf } from "../support/seen.ts";

// A gateway of an earlier version that runs on beside this one, after an upgrade or started since.

/** A process that has an index open as that version does: runs each line of its input as SQL, and says so. */
const older = (path: string) => {
  const program = `
    const db = new (require("bun:sqlite").Database)(${JSON.stringify(path)});
    db.run("PRAGMA journal_mode = WAL");
    for await (const line of console) if (line) console.log((db.run(line), "done"));`;
  const child = Bun.spawn([process.execPath, "-e", program], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const answers = linesOf(child.stdout)[Symbol.asyncIterator]();
  return {
    async run(sql: string): Promise<void> {
      void child.stdin.write(`${sql}\n`);
      void child.stdin.flush();
      expect(await answers.next()).toMatchObject({ value: "done" });
    },
    async end(): Promise<void> {
      void child.stdin.end();
      await child.exited;
    },
    [Symbol.dispose]: () => child.kill("SIGKILL"),
  };
};

const isEarlier = (file: string): boolean => earlierIndexes.some((name) => file.startsWith(name));

test.each(earlierIndexes)(
  "R8 R11 T57 what a gateway that fills %s writes and deletes hides no record; the file goes once nobody has it open",
  async (name) => {
    using at = tempState();
    await using opened = await openBroker(at);
    const facts = { server: "a", reason: "it ended with code 7" };
    const path = join(at.state, name);
    using beside = older(path);
    for (const script of [...indexSchema, "PRAGMA user_version = 1"]) await beside.run(script.replaceAll("\n", " "));

    const index = openIndexWriter(at.state);
    const reader = openReader(at.state);
    for (const times of [1, 2]) {
      await opened.broker.recordEvent({ type: "server.crashed", actor: "system", facts });
      await runCall(opened.broker, { server: "a" });
      await opened.broker.flush();
      const last = reader.last("main");
      if (!last) throw new Error("the chain has records");
      // It knows no server of events.
      const leaf = Buffer.from(last.leaf).toString("hex");
      await beside.run(`INSERT OR REPLACE INTO mark VALUES ('main', ${last.seq}, x'${leaf}')`);
      rollUpPage(reader, "main", last.seq, { usage: null, index });
      expect(reader.find({ server: "a", type: "server.crashed" })).toHaveLength(times);
      expect(index.mark("main")?.seq).toBe(last.seq);
    }
    for (const part of [reader, index]) part.close();

    openIndexWriter(at.state).close();
    await beside.run("DELETE FROM mark");
    expect(readdirSync(at.state)).toContain(name);
    await beside.end();
    openIndexWriter(at.state).close();
    expect(readdirSync(at.state).filter(isEarlier)).toEqual([]);
  },
);
