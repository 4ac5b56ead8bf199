import { chmodSync, chownSync, readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { findConfig, thisHost } from "../config/paths.ts";
import type { Client } from "../control/contract.ts";
import { Refusal, Unreachable } from "../control/refusal.ts";
import { lockDirectory } from "../core/libc.ts";
import type { Cli } from "./cli.ts";
import { UsageError } from "./errors.ts";

/** Replaces a file at once, with its owner and mode; readers see the old text or the new one. */
function replace(file: string, text: string): void {
  const draft = `${file}.${process.pid}.tmp`;
  try {
    writeFileSync(draft, text, { flag: "wx", mode: 0o600 });
    keepOwner(draft, file);
    renameSync(draft, file);
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Throws where the new file could not belong to whom the old one belongs: the daemon might not read it any more. */
function keepOwner(draft: string, file: string): void {
  const { uid, gid, mode } = statSync(file);
  const own = statSync(draft);
  try {
    if (uid !== own.uid || gid !== own.gid) chownSync(draft, uid, gid);
  } catch {
    const command = `edit it yourself, or run this as uid ${uid}`;
    throw new Refusal("denied", `${file} belongs to uid ${uid}, gid ${gid}, and would change hands: ${command}`);
  }
  chmodSync(draft, mode & 0o777);
}

async function daemon(cli: Cli): Promise<Client | null> {
  try {
    return await cli.open();
  } catch (error) {
    if (error instanceof Unreachable) return null;
    throw error;
  }
}

async function fileOf(cli: Cli, client: Client | null): Promise<string> {
  const running = client ? (await client.call("status", {})).config : null;
  const found = findConfig(thisHost(), { flag: cli.globals.config, local: false });
  const file = running ?? found.path;
  if (file === null) throw new UsageError(found.why);
  return file;
}

/**
 * Switches a server on or off in the configuration file, with the rights of who asks, and has a running daemon load
 * it. What the daemon refuses is undone. Commands that do so at the same time wait for each other.
 */
export async function setEnabled(cli: Cli, id: string, on: boolean): Promise<{ file: string; reloaded: boolean }> {
  const { enableServer } = await import("../config/edit.ts");
  const client = await daemon(cli);
  try {
    const file = await fileOf(cli, client);
    // The file may be a link, and is replaced where it really lies.
    const target = realpathSync(file);
    const lock = lockDirectory(dirname(target));
    try {
      const before = readFileSync(target, "utf8");
      const after = enableServer(before, id, on);
      if (after === null) throw new Refusal("not-found", `${file} has no server "${id}"`);
      if (after !== before) replace(target, after);
      await client?.call("config.reload", {}).catch((error: unknown) => {
        if (after !== before) undo(cli, target, after, before);
        throw error;
      });
    } finally {
      lock.release();
    }
    return { file, reloaded: client !== null };
  } finally {
    client?.close();
  }
}

/** Whoever edited the file since keeps what was edited. */
function undo({ out }: Cli, file: string, after: string, before: string): void {
  if (readFileSync(file, "utf8") === after) replace(file, before);
  else out.say(`mcpgw: warning: ${file} was edited meanwhile and stays as it is`);
}
