import { lstatSync } from "node:fs";
import { open as openFile, link, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { whyUnwritable } from "../../core/access.ts";
import { codeOf } from "../../core/error-text.ts";
import { draftOf } from "../../core/files.ts";
import { command } from "../command.ts";
import { exit, Failed, UsageError } from "../errors.ts";
import { ReaderLeft } from "../output.ts";
import { recordCount } from "../../control/format.ts";
import { period, timeRange } from "../when.ts";

const unfit = (why: string): UsageError => new UsageError(`--out: ${why}`);

const unwritable = (error: unknown, path: string): UsageError => unfit(whyUnwritable(error, path));

function refuseTaken(path: string): void {
  try {
    if (!lstatSync(path, { throwIfNoEntry: false })) return;
  } catch (error) {
    throw unwritable(error, path);
  }
  throw unfit(`${path} is there already; name another file`);
}

/** The draft of a file that is there once it is whole. */
async function create(path: string) {
  const draft = draftOf(path);
  try {
    return { path, draft, file: await openFile(draft, "wx", 0o600) };
  } catch (error) {
    throw codeOf(error) === "ENOENT" ? unfit(`there is no directory ${dirname(path)}`) : unwritable(error, path);
  }
}

const written = (path: string, work: Promise<void>): Promise<void> =>
  work.catch((error: unknown) => {
    throw new Failed(exit.failed, whyUnwritable(error, path));
  });

/** Gives the draft its name; what came there meanwhile stays. */
async function giveName(draft: string, path: string): Promise<void> {
  try {
    await link(draft, path);
  } catch {
    // It is taken, or the file system has no hard links.
    refuseTaken(path);
    await rename(draft, path);
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
    if (path !== undefined) refuseTaken(path);
    const client = await open({ offline: true });
    const records = client.stream("audit.export", { chain, ...range, payloads })[Symbol.asyncIterator]();
    // The first step records the export, which may restart the process: that must not find a file of its own.
    let next = await records.next();
    // Half an export must not pass for a whole one, nor be in the way of the next, also where the operator cuts it off.
    const target = path === undefined ? null : await create(path);
    let lines = 0;
    try {
      for (; !next.done; next = await records.next()) {
        if (typeof next.value !== "string") continue;
        // `write` would take a part of the last line for all of it, where the disk has room for no more.
        if (target) await written(target.path, target.file.appendFile(`${next.value}\n`));
        else await (out.terminal ? out.printJson(next.value) : out.print(next.value));
        lines++;
      }
      if (target) {
        await written(target.path, target.file.sync());
        await giveName(target.draft, target.path);
      }
    } catch (error) {
      throw error instanceof ReaderLeft ? new Failed(exit.failed, `not all was exported: ${error.message}`) : error;
    } finally {
      await records.return?.();
      await target?.file.close();
      if (target) await rm(target.draft, { force: true });
    }
    if (target) out.say(`${recordCount(lines)} in ${path}`);
  },
});
