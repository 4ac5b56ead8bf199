import { realpathSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { findConfig, thisHost } from "../config/paths.ts";
import type { Client } from "../control/contract.ts";
import { Refusal, Unreachable } from "../control/refusal.ts";
import { whyUnreadable, whyUnwritable } from "../core/access.ts";
import { codeOf } from "../core/error-text.ts";
import { readRegularSync, replaceFile } from "../core/files.ts";
import { tryLockDirectory } from "../core/libc.ts";
import { untilGiven } from "../core/wait.ts";
import type { Cli } from "./cli.ts";

/**
 * Replaces a file, which keeps its owner and mode; refuses where it cannot, since the daemon might not read it any
 * more.
 */
async function replace(file: string, text: string): Promise<void> {
  const { uid, gid, mode } = statSync(file);
  try {
    await replaceFile(file, text, mode & 0o777, { uid, gid });
  } catch (error) {
    const code = codeOf(error);
    if (code === "EACCES") {
      throw new Refusal("denied", `uid ${process.getuid?.()} may not write in ${dirname(file)}; run this with sudo`);
    }
    // As in a container, to which the file or its directory is handed in.
    if (code === "EROFS" || code === "EBUSY") {
      const help = "edit it where it is mounted from, then run `mcpgw config reload`";
      throw new Refusal("denied", `${file} cannot be replaced where it is mounted (${code}); ${help}`);
    }
    if (code !== "EPERM") throw new Refusal("unavailable", whyUnwritable(error, file));
    const own = uid === process.getuid?.();
    // Where only the owner may do anything, the group means nothing.
    if (own && (mode & 0o077) === 0) return replaceFile(file, text, mode & 0o777);
    const help = own
      ? `its group, ${gid}, is none of yours; chgrp it, or run this as root`
      : `edit it yourself, or run this as uid ${uid}`;
    throw new Refusal("denied", `${file} belongs to uid ${uid}, gid ${gid}, and would change hands: ${help}`);
  }
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
  if (file === null) throw new Refusal("invalid", found.why);
  return file;
}

/**
 * Switches a server on or off in the configuration file, with the rights of the user who asks, and lets a running
 * daemon reload it. If the daemon refuses, the change is undone. Commands that do so at the same time wait for each
 * other, `patience` ms at most.
 */
export async function setEnabled(
  cli: Cli,
  id: string,
  on: boolean,
  patience = 30_000,
): Promise<{ file: string; reloaded: boolean }> {
  const { enableServer, hasServer } = await import("../config/edit.ts");
  const { plainData } = await import("../config/document.ts");
  const client = await daemon(cli);
  const file = await fileOf(cli, client);
  const reloaded = await edit(
    file,
    (text) => {
      const data = plainData(text, file);
      const edited = enableServer(text, id, on);
      if (edited !== null) return edited;
      if (!hasServer(data, id)) throw new Refusal("not-found", `${file} has no server "${id}"`);
      throw new Refusal(
        "denied",
        `${file}: server "${id}" is written with an alias (*name) or an empty "enabled"; edit it yourself`,
      );
    },
    { cli, client, patience },
  ).catch((error: unknown) => {
    const why = whyUnreadable(error, file);
    throw why === null ? error : new Refusal("denied", `${file}: ${why}; run this with sudo`);
  });
  return { file, reloaded };
}

/** The lock of a directory. Whoever can read the directory can hold it, a hostile server too: nobody waits for ever. */
async function lockOf(directory: string, patience: number): Promise<Disposable> {
  const lock = await untilGiven(() => tryLockDirectory(directory), patience);
  if (lock) return lock;
  throw new Refusal("conflict", `another process holds the lock of ${directory}`);
}

type Editing = { readonly cli: Cli; readonly client: Client | null; readonly patience: number };

/** Resolves to whether a daemon has loaded the edited file. */
async function edit(file: string, change: (text: string) => string, { cli, client, patience }: Editing) {
  // If the file is a link, the file that it leads to is replaced.
  const target = realpathSync(file);
  using _lock = await lockOf(dirname(target), patience);
  const before = readRegularSync(target).toString();
  const after = change(before);
  if (after !== before) await replace(target, after);
  try {
    // One that has started meanwhile may have read the file before it was edited.
    const running = client ?? (await daemon(cli));
    await running?.call("config.reload", {});
    return running !== null;
  } catch (error) {
    // Whoever edited the file since keeps that edit.
    if (readRegularSync(target).toString() !== after) cli.out.warn(`${file} was edited meanwhile and stays so`);
    else if (after !== before) await replace(target, before);
    throw error;
  }
}
