import { chmodSync, readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { findConfig, thisHost } from "../config/paths.ts";
import type { Client } from "../control/contract.ts";
import { Refusal, Unreachable } from "../control/refusal.ts";
import type { Cli } from "./cli.ts";
import { UsageError } from "./errors.ts";

/** Replaces a file atomically and keeps its mode; readers see the old text or the new one. */
function replace(file: string, text: string): void {
  const target = realpathSync(file);
  const draft = `${target}.${process.pid}.tmp`;
  try {
    writeFileSync(draft, text, { flag: "wx", mode: 0o600 });
    chmodSync(draft, statSync(target).mode & 0o777);
    renameSync(draft, target);
  } finally {
    rmSync(draft, { force: true });
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
    if (after !== before) replace(file, after);
    try {
      await client?.call("config.reload", {});
    } catch (error) {
      if (after !== before) replace(file, before);
      throw error;
    }
    return { file, reloaded: client !== null };
  } finally {
    client?.close();
  }
}
