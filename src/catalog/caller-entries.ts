import { isShown, type Party, type Tool } from "../core/call.ts";
import { clientKind } from "../core/inbound.ts";
import { memoize } from "../core/memoize.ts";
import { canonicalName, ownServer } from "../core/name.ts";
import { type Entry, routeOf } from "./entries.ts";
import { fitName, fullName, impersonated, type NamedServer, skeleton } from "./names.ts";
import type { NamesOptions } from "./options.ts";
import type { Scope } from "./scopes.ts";

/** Returns the tools in a scope that only the caller's own instances offer: the same array until they change. */
export type CallerEntries = (scope: Scope, party: Party) => readonly Entry[];

export type CallerEntriesOptions = {
  readonly servers: readonly NamedServer[];
  readonly names: NamesOptions;
  /** The tools that currently only the party's own instances offer, by server. */
  readonly callerTools: (party: Party) => ReadonlyMap<string, readonly Tool[]>;
};

/** The empty result, as one shared array. */
export const noEntries: readonly Entry[] = [];

/**
 * Finds them for each caller separately: one caller's instance must not change anything for another caller. Tools that
 * cannot be distinguished by name from those offered to everybody, or from each other, are left out.
 */
export function createCallerEntries({ servers, names, callerTools }: CallerEntriesOptions): CallerEntries {
  const prefixes = new Map(servers.map(({ id, prefix }) => [id, prefix]));
  const ids = [ownServer, ...prefixes.keys()];
  const make = (scope: Scope, server: string, tool: Tool): Entry | null => {
    const { name } = tool;
    const canonical = canonicalName(server, name);
    const bare = prefixes.get(server) === "none" && !impersonated({ server, name }, ids);
    const wire = scope.rename[canonical] ?? fitName(bare ? name : fullName(server, name), canonical, names.max);
    const entry = { ...routeOf("tools", server, name, wire), tool, text: tool.text };
    return scope.admits(entry) ? entry : null;
  };
  const finderIn = memoize((scope: Scope) => createFinder(scope, make));
  return (scope, party) => {
    const offers = callerTools(party);
    return offers.size === 0 ? noEntries : finderIn(scope)(offers, party);
  };
}

type Find = (offers: ReadonlyMap<string, readonly Tool[]>, party: Party) => readonly Entry[];
/** A tree of results, keyed by the tools of one server after the other. */
type Found = { readonly byInput: Map<string, readonly Entry[]>; readonly next: WeakMap<readonly Tool[], Found> };

const emptyNode = (): Found => ({ byInput: new Map(), next: new WeakMap() });

/** Creates the search within one scope. The results of offers that no longer exist are garbage-collected. */
function createFinder(scope: Scope, make: (scope: Scope, server: string, tool: Tool) => Entry | null): Find {
  const made = new WeakMap<Tool, Entry | null>();
  const entryOf = (server: string, tool: Tool): Entry | null =>
    made.getOrInsertComputed(tool, () => make(scope, server, tool));
  const lookOf = ({ wire }: Entry): string => skeleton(wire);
  const find: Find = (offers, party) => {
    const shown = scope.entries.tools.filter((entry) => isShown(entry, party));
    const taken = new Set(shown.map(lookOf));
    // A tool that is withheld from everybody is also withheld from the caller whose instance offers it.
    const kept = new Set(scope.missing.filter(({ list }) => list === "tools").map(({ canonical }) => canonical));
    const entries = [...offers].flatMap(([server, tools]) => tools.flatMap((tool) => entryOf(server, tool) ?? []));
    const alike = Map.groupBy(entries, lookOf);
    const isFree = (look: string): boolean => !taken.has(look) && alike.get(look)?.length === 1;
    return entries.filter((entry) => !kept.has(entry.canonical) && isFree(lookOf(entry)));
  };
  const start = emptyNode();
  return (offers, party) => {
    const input = clientKind(party.capabilities);
    let found = start;
    for (const tools of offers.values()) found = found.next.getOrInsertComputed(tools, emptyNode);
    return found.byInput.getOrInsertComputed(input, () => find(offers, party));
  };
}
