import { readFileSync, realpathSync, statSync } from "node:fs";
import { findConfig, thisHost } from "../config/paths.ts";
import type { Client } from "../control/contract.ts";
import { Refusal, Unreachable } from "../control/refusal.ts";
import { replaceFile } from "../core/files.ts";
import type { Cli } from "./cli.ts";
import { UsageError } from "./errors.ts";

/** Replaces a file, or the one that a link of that name leads to; it keeps its mode. */
function replace(file: string, text: string): Promise<void> {
  const target = realpathSync(file);
  return replaceFile(target, text, statSync(target).mode & 0o777);
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
 * Switches a server on or off in the configuration file, with the rights of the user who asks, and lets a running
 * daemon reload it. If the daemon refuses, the change is undone.
 */
export async function setEnabled(cli: Cli, id: string, on: boolean): Promise<{ file: string; reloaded: boolean }> {
  const { enableServer } = await import("../config/edit.ts");
  const client = await daemon(cli);
  try {
    const file = await fileOf(cli, client);
    const before = readFileSync(file, "utf8");
    const after = enableServer(before, id, on);
    if (after === null) throw new Refusal("not-found", `${file} has no server "${id}"`);
    if (after !== before) await replace(file, after);
    try {
      await client?.call("config.reload", {});
    } catch (error) {
      if (after !== before) await replace(file, before);
      throw error;
    }
    return { file, reloaded: client !== null };
  } finally {
    client?.close();
  }
}
