import type { Catalog } from "../core/ports.ts";

/** Most things that are told one by one: two servers that are alike in one name may be so in all. */
const mostTold = 5;

/**
 * Sentences about tools and prompts that a server lists, but that nobody is offered for want of a name of their own.
 */
export function nameless(catalog: Catalog): string[] {
  // What is wrong with a URI is for its server to mend.
  const lost = catalog.allMissing().filter(({ unnamed, kind }) => unnamed && kind !== "resource");
  const told = lost
    .slice(0, mostTold)
    .map(({ kind, canonical, reason }) => `${kind} ${canonical} is not offered: ${reason}`);
  const more = lost.length - told.length;
  return more === 0
    ? told
    : [...told, `others not offered for their names: ${more}; \`mcpgw servers show\` says which`];
}
