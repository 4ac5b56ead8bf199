import { realpathSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { findConfig, thisHost } from "../config/paths.ts";
import type { Client } from "../control/contract.ts";
import { Refusal, Unreachable } from "../control/refusal.ts";
import { whyUnreadable, whyUnwritable } from "../core/access.ts";
import { codeOf } from "../core/error-text.ts";
import { readRegularSync, replaceFile } from "../core/files.ts";
import { tryLockDirectory } from "../core/libc.ts";
import { retryUntil } from "../core/wait.ts";
import type { Cli } from "./cli.ts";

/** Replaces a file, keeping owner and mode; throws a `Refusal` if it cannot, since the daemon might lose access. */
async function replace(file: string, text: string): Promise<void> {
  const { uid, gid, mode } = statSync(file);
  try {
    await replaceFile(file, text, mode & 0o777, { uid, gid });
  } catch (error) {
    const code = codeOf(error);
    if (code === "EACCES") {
      throw new Refusal("denied", `uid ${process.getuid?.()} may not write to ${dirname(file)}; run this with sudo`);
    }
    // Typical in a container, where the file or its directory is a mount.
    if (code === "EROFS" || code === "EBUSY") {
      const help = "edit it at the source of the mount, then run `mcpgw config reload`";
      throw new Refusal("denied", `${file} cannot be replaced, since it is mounted (${code}); ${help}`);
    }
    if (code !== "EPERM") throw new Refusal("unavailable", whyUnwritable(error, file));
    const own = uid === process.getuid?.();
    // If only the owner has access, the group does not matter.
    if (own && (mode & 0o077) === 0) return replaceFile(file, text, mode & 0o777);
    const help = own
      ? `you are not a member of its group, ${gid}; chgrp it, or run this as root`
      : `edit it yourself, or run this as uid ${uid}`;
    throw new Refusal(
      "denied",
      `${file} belongs to uid ${uid}, gid ${gid}, and replacing it would change that: ${help}`,
    );
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
 * Enables or disables a server in the configuration file, with the rights of the calling user, and makes a running
 * daemon reload it. If the daemon refuses, the change is undone. Concurrent commands wait for each other, at most
 * `patience` ms.
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

/** Locks a directory. Anyone who can read it can hold the lock, even a hostile server, so the wait is bounded. */
async function lockOf(directory: string, patience: number): Promise<Disposable> {
  const lock = await retryUntil(() => tryLockDirectory(directory), patience);
  if (lock) return lock;
  throw new Refusal("conflict", `another process holds the lock on ${directory}`);
}

type Editing = { readonly cli: Cli; readonly client: Client | null; readonly patience: number };

/** Edits the file; resolves to whether a daemon has loaded the edited file. */
async function edit(file: string, change: (text: string) => string, { cli, client, patience }: Editing) {
  // If the file is a symbolic link, its target is replaced.
  const target = realpathSync(file);
  using _lock = await lockOf(dirname(target), patience);
  const before = readRegularSync(target).toString();
  const after = change(before);
  if (after !== before) await replace(target, after);
  try {
    // A daemon that started in the meantime may have read the file before the edit.
    const running = client ?? (await daemon(cli));
    await running?.call("config.reload", {});
    return running !== null;
  } catch (error) {
    // An edit that somebody else made since then is kept.
    if (readRegularSync(target).toString() !== after)
      cli.out.warn(`${file} was edited by somebody else in the meantime and is left as it is`);
    else if (after !== before) await replace(target, before);
    throw error;
  }
}
