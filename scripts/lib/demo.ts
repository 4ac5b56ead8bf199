import { join } from "node:path";
import { root } from "./build.ts";

/** The directory of the demo's files, separate from any real installation. */
export const home = join(root, ".mcpgw");
export const paths = {
  config: join(home, "gateway.yaml"),
  state: join(home, "state"),
  key: join(home, "demo.key"),
  env: join(home, "env"),
} as const;

/** The parts of the demo's configuration that the scripts use. */
export type DemoConfig = { readonly listen: string; readonly role: string };

/** Reads the address and the first role from a configuration, which the program itself validates later. */
export function readConfig(text: string): DemoConfig {
  const file = Bun.YAML.parse(text) as {
    listen?: { http?: string };
    policies?: { roles?: string[] }[];
  } | null;
  return { listen: file?.listen?.http ?? "127.0.0.1:7332", role: file?.policies?.[0]?.roles?.[0] ?? "demo" };
}

/**
 * Returns a control socket below `short` for a state directory whose own socket path would be too long, always the same
 * for one directory; null if the own path fits. A Unix socket path is limited to about a hundred bytes, which a deep
 * checkout exceeds.
 */
export function shortSocket(state: string, short: string): string | null {
  if (Buffer.byteLength(join(state, "control.sock")) <= 100) return null;
  return join(short, `mcpgw-${Bun.hash(state).toString(36)}`, "control.sock");
}

/** Returns `text` quoted as one word of a shell command. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
