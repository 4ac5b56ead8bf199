import { join } from "node:path";
import { root } from "./build.ts";

/** The directory of the demo's files; never that of a real installation. */
export const home = join(root, ".mcpgw");
export const paths = {
  config: join(home, "gateway.yaml"),
  state: join(home, "state"),
  key: join(home, "demo.key"),
  env: join(home, "env"),
} as const;

/** The parts of the demo's configuration that the scripts look at. */
export type DemoConfig = { readonly listen: string; readonly role: string };

/** Reads the address and the first role from a configuration that the program itself checks later. */
export function readConfig(text: string): DemoConfig {
  const file = Bun.YAML.parse(text) as {
    listen?: { http?: string };
    policies?: { roles?: string[] }[];
  } | null;
  return { listen: file?.listen?.http ?? "127.0.0.1:7332", role: file?.policies?.[0]?.roles?.[0] ?? "demo" };
}

/**
 * A control socket below `short` for a state directory whose own socket would have too long a path; it is always the
 * same for one directory. The path of a Unix socket has room for about a hundred bytes, which a deep checkout exceeds.
 * Null if the own path fits.
 */
export function shortSocket(state: string, short: string): string | null {
  if (Buffer.byteLength(join(state, "control.sock")) <= 100) return null;
  return join(short, `mcpgw-${Bun.hash(state).toString(36)}`, "control.sock");
}

/** `text` as one word of a shell command. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
