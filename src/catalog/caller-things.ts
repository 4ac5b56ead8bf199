import { isShown, type Party, type Tool } from "../core/call.ts";
import { inputKey } from "../core/inbound.ts";
import { canonicalName, ownServer } from "../core/name.ts";
import { fitName, fullName, impersonated, type NamedServer, skeleton } from "./names.ts";
import type { NamesOptions } from "./options.ts";
import type { Scope } from "./scopes.ts";
import { routeOf, type Thing } from "./things.ts";

/**
 * The tools that a caller's own instances offer besides those that everybody is offered, within a scope: the same array
 * until they change.
 */
export type CallerThings = (scope: Scope, party: Party) => readonly Thing[];

export type CallerThingsInit = {
  readonly servers: readonly NamedServer[];
  readonly names: NamesOptions;
  /** The tools that only the party's own instances offer now, by server. */
  readonly callerTools: (party: Party) => ReadonlyMap<string, readonly Tool[]>;
};

/** None, as one array. */
export const noThings: readonly Thing[] = [];

/**
 * Finds them for each caller anew: what one caller's instance offers must change nothing for another. They yield to what
 * everybody is offered, and to each other where their names cannot be told apart.
 */
export function createCallerThings({ servers, names, callerTools }: CallerThingsInit): CallerThings {
  const prefixes = new Map(servers.map(({ id, prefix }) => [id, prefix]));
  const ids = [ownServer, ...prefixes.keys()];
  const finders = new WeakMap<Scope, Find>();
  const make = (scope: Scope, server: string, tool: Tool): Thing | null => {
    const { name } = tool;
    const canonical = canonicalName(server, name);
    const bare = prefixes.get(server) === "none" && !impersonated({ server, name }, ids);
    const wire = scope.rename[canonical] ?? fitName(bare ? name : fullName(server, name), canonical, names.max);
    const route = { ...routeOf("tools", server, name, wire), tool };
    return scope.admits(route) ? { route, text: tool.text } : null;
  };
  return (scope, party) => {
    const offers = callerTools(party);
    if (offers.size === 0) return noThings;
    let find = finders.get(scope);
    if (!find) finders.set(scope, (find = finderOf(scope, make)));
    return find(offers, party);
  };
}

type Find = (offers: ReadonlyMap<string, readonly Tool[]>, party: Party) => readonly Thing[];
/** What was found for callers of the same offers: those of a first server, and from there those of each further one. */
type Found = { readonly byInput: Map<string, readonly Thing[]>; readonly next: WeakMap<readonly Tool[], Found> };

const nothingYet = (): Found => ({ byInput: new Map(), next: new WeakMap() });

/** Finds them within one scope, and keeps nothing of offers that are gone. */
function finderOf(scope: Scope, make: (scope: Scope, server: string, tool: Tool) => Thing | null): Find {
  const made = new WeakMap<Tool, Thing | null>();
  const thingOf = (server: string, tool: Tool): Thing | null => {
    let thing = made.get(tool);
    if (thing === undefined) made.set(tool, (thing = make(scope, server, tool)));
    return thing;
  };
  const lookOf = ({ route }: Thing): string => skeleton(route.wire);
  const find: Find = (offers, party) => {
    const shown = scope.things.tools.filter(({ route }) => isShown(route, party));
    const taken = new Set(shown.map(lookOf));
    // What is kept from everybody is kept from the caller whose instance offers it.
    const kept = new Set(scope.missing.filter(({ list }) => list === "tools").map(({ canonical }) => canonical));
    const things = [...offers].flatMap(([server, tools]) => tools.flatMap((tool) => thingOf(server, tool) ?? []));
    const alike = Map.groupBy(things, lookOf);
    const isFree = (look: string): boolean => !taken.has(look) && alike.get(look)?.length === 1;
    return things.filter((thing) => !kept.has(thing.route.canonical) && isFree(lookOf(thing)));
  };
  const start = nothingYet();
  return (offers, party) => {
    const input = inputKey(party.capabilities);
    let found = start;
    for (const tools of offers.values()) {
      const further = found.next.get(tools) ?? nothingYet();
      found.next.set(tools, further);
      found = further;
    }
    let things = found.byInput.get(input);
    if (!things) found.byInput.set(input, (things = find(offers, party)));
    return things;
  };
}
