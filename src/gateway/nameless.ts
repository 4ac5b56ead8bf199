import type { Catalog } from "../core/ports.ts";

/** Maximum number of things reported one by one: two servers that share one name may share all names. */
const maxReported = 5;

/** Returns warnings about listed tools and prompts that are not offered because they have no name of their own. */
export function nameless(catalog: Catalog): string[] {
  // A bad URI can only be fixed at its server.
  const lost = catalog.allMissing().filter(({ unnamed, kind }) => unnamed && kind !== "resource");
  const told = lost
    .slice(0, maxReported)
    .map(({ kind, canonical, reason }) => `${kind} ${canonical} is not offered: ${reason}`);
  const more = lost.length - told.length;
  return more === 0
    ? told
    : [...told, `others that are not offered because of their names: ${more}; \`mcpgw servers show\` lists them`];
}
