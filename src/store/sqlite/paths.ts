import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

// Where the databases of an installation lie.

/** A state directory, and the file of its chain `main`; null: that lies in the directory, as all other chains do. */
export type ChainHome = { readonly state: string; readonly main: string | null };

/** File of a chain. */
export function chainPath({ state, main }: ChainHome, chain: string): string {
  return chain === "main" && main !== null ? main : join(state, "audit", `${chain}.db`);
}

/** File of what is kept besides the chains. */
export const statePath = (dir: string): string => join(dir, "mcpgw.db");

/** File of the index that finds records fast. */
export const indexPath = (dir: string): string => join(dir, "index.db");

/** The chains that there are, sorted. */
export function chainNames({ state, main }: ChainHome): string[] {
  const dir = join(state, "audit");
  const files = existsSync(dir) ? readdirSync(dir) : [];
  const names = files.filter((file) => /^[a-z0-9-]+\.db$/.test(file)).map((file) => file.slice(0, -".db".length));
  if (main === null) return names.sort();
  // The file of `main` may lie among the others, by another name.
  const others = names.filter((name) => name !== "main" && join(dir, `${name}.db`) !== main);
  return [...others, ...(existsSync(main) ? ["main"] : [])].sort();
}
