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
  throw unfit(`${path} already exists; name another file`);
}

/** Opens a draft of the file, which gets its final name once it is complete. */
async function create(path: string) {
  const draft = draftOf(path);
  try {
    return { path, draft, file: await openFile(draft, "wx", 0o600) };
  } catch (error) {
    throw codeOf(error) === "ENOENT" ? unfit(`directory ${dirname(path)} does not exist`) : unwritable(error, path);
  }
}

const written = (path: string, work: Promise<void>): Promise<void> =>
  work.catch((error: unknown) => {
    throw new Failed(exit.failed, whyUnwritable(error, path));
  });

/** Gives the draft its final name, without replacing a file that was created there in the meantime. */
async function publishDraft(draft: string, path: string): Promise<void> {
  try {
    await link(draft, path);
  } catch {
    // The name is taken, or the file system has no hard links.
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
    payloads: {
      type: "boolean",
      description: "include arguments and results; administrators only, and the export is recorded",
    },
    out: { type: "string", valueHint: "FILE", description: "write to this new file instead of standard output" },
  },
  async run({ chain, since, until, payloads, out: path }, { out, open }) {
    const range = timeRange(since, until);
    // Checked before the export is recorded.
    if (path !== undefined) refuseTaken(path);
    const client = await open({ offline: true });
    const records = client.stream("audit.export", { chain, ...range, payloads })[Symbol.asyncIterator]();
    // The first step records the export and may restart the process, which must not then find a draft of its own.
    let next = await records.next();
    // A partial export must not look complete or block the next one, even if the operator interrupts it.
    const target = path === undefined ? null : await create(path);
    let lines = 0;
    try {
      for (; !next.done; next = await records.next()) {
        if (typeof next.value !== "string") continue;
        // `write` would report success for a partly written last line when the disk is full.
        if (target) await written(target.path, target.file.appendFile(`${next.value}\n`));
        else await (out.terminal ? out.printJson(next.value) : out.print(next.value));
        lines++;
      }
      if (target) {
        await written(target.path, target.file.sync());
        await publishDraft(target.draft, target.path);
      }
    } catch (error) {
      throw error instanceof ReaderLeft ? new Failed(exit.failed, `the export is incomplete: ${error.message}`) : error;
    } finally {
      await records.return?.();
      await target?.file.close();
      if (target) await rm(target.draft, { force: true });
    }
    if (target) out.say(`${recordCount(lines)} in ${path}`);
  },
});
