import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

// Locations of the databases of an installation.

/** A state directory, and the file of its chain `main`; null if that is in the directory, as all other chains are. */
export type ChainHome = { readonly state: string; readonly main: string | null };

/** Returns the file of a chain. */
export function chainPath({ state, main }: ChainHome, chain: string): string {
  return chain === "main" && main !== null ? main : join(state, "audit", `${chain}.db`);
}

/** Returns the file of everything persistent except the chains. */
export const statePath = (dir: string): string => join(dir, "mcpgw.db");

/** Returns the file of the search index. */
export const indexPath = (dir: string): string => join(dir, "index.db");

/** Lists the existing chains, sorted. */
export function chainNames({ state, main }: ChainHome): string[] {
  const dir = join(state, "audit");
  const files = existsSync(dir) ? readdirSync(dir) : [];
  const names = files.filter((file) => /^[a-z0-9-]+\.db$/.test(file)).map((file) => file.slice(0, -".db".length));
  if (main === null) return names.sort();
  // The file of `main` may be in the same directory under another name.
  const others = names.filter((name) => name !== "main" && join(dir, `${name}.db`) !== main);
  return [...others, ...(existsSync(main) ? ["main"] : [])].sort();
}
