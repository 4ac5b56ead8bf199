import { existsSync } from "node:fs";
import { open as openFile, type FileHandle, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { codeOf, messageOf } from "../../core/error-text.ts";
import { naming } from "../../core/files.ts";
import { command } from "../command.ts";
import { exit, Failed, UsageError } from "../errors.ts";
import { ReaderLeft } from "../output.ts";
import { recordCount } from "../../control/format.ts";
import { period, timeRange } from "../when.ts";

const isThere = (path: string): UsageError => new UsageError(`--out: ${path} is there already; name another file`);

async function create(path: string): Promise<FileHandle> {
  try {
    return await openFile(path, "wx", 0o600);
  } catch (error) {
    const code = codeOf(error);
    if (code === "EEXIST") throw isThere(path);
    const why = code === "ENOENT" ? `there is no directory ${dirname(path)}` : messageOf(error);
    throw new UsageError(`--out: ${why}`);
  }
}

export const exportRecords = command({
  summary: "Write audit records as JSON lines that anyone can verify",
  args: {
    jsonl: { type: "boolean", description: "JSON lines (the only format, so it may be left out)" },
    chain: { type: "string", valueHint: "NAME", description: "only this chain" },
    ...period,
    payloads: { type: "boolean", description: "with arguments and results; administrators only, and recorded" },
    out: { type: "string", valueHint: "FILE", description: "a new file instead of standard output" },
  },
  async run({ chain, since, until, payloads, out: path }, { out, open }) {
    const range = timeRange(since, until);
    // Before the export is on record.
    if (path !== undefined && existsSync(path)) throw isThere(path);
    const client = await open({ offline: true });
    const records = client.stream("audit.export", { chain, ...range, payloads })[Symbol.asyncIterator]();
    // The first step records the export, which may restart the process: that must not find a file of its own.
    let next = await records.next();
    const file = path === undefined ? null : await create(path);
    let lines = 0;
    try {
      for (; !next.done; next = await records.next()) {
        if (typeof next.value !== "string") continue;
        // `write` would take a part of the last line for all of it, where the disk has room for no more.
        if (path !== undefined && file) await naming(path, file.appendFile(`${next.value}\n`));
        else await (out.terminal ? out.printJson(next.value) : out.print(next.value));
        lines++;
      }
      await file?.sync();
    } catch (error) {
      // Half an export must not pass for a whole one, nor be in the way of the next.
      if (path !== undefined) await rm(path, { force: true });
      throw error instanceof ReaderLeft ? new Failed(exit.failed, `not all was exported: ${error.message}`) : error;
    } finally {
      await file?.close();
      await records.return?.();
    }
    if (file) out.say(`${recordCount(lines)} in ${path}`);
  },
});
