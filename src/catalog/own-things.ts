import type { Party, Tool } from "../core/call.ts";
import { inputKey } from "../core/inbound.ts";
import { canonicalName, ownServer } from "../core/name.ts";
import type { Prefix } from "../core/options.ts";
import { fitName, fullName, impersonated, skeleton } from "./names.ts";
import type { NamesOptions } from "./options.ts";
import type { Scope } from "./scopes.ts";
import { routeOf, type Thing } from "./things.ts";

/** The tools that a caller's own instances offer besides those that everybody is offered, within a scope. */
export type OwnThings = (scope: Scope, party: Party) => readonly Thing[];

export type OwnThingsInit = {
  readonly servers: readonly { readonly id: string; readonly prefix: Prefix }[];
  readonly names: NamesOptions;
  /** The tools that only the party's own instances offer now, by server. */
  readonly ownTools: (party: Party) => ReadonlyMap<string, readonly Tool[]>;
};

/** What was found of the offers of one caller, which others compare by identity. */
type Made = {
  readonly input: string;
  readonly offers: readonly (readonly Tool[])[];
  readonly things: readonly Thing[];
};

const none: readonly Thing[] = [];

/**
 * Finds them for each caller anew: what one caller's instance offers must change nothing for another. They yield to what
 * everybody is offered, and to each other where their names cannot be told apart.
 */
export function createOwnThings(init: OwnThingsInit): OwnThings {
  const prefixes = new Map(init.servers.map(({ id, prefix }) => [id, prefix]));
  const servers = [ownServer, ...prefixes.keys()];
  const looks = new WeakMap<Scope, Map<string, ReadonlySet<string>>>();
  const made = new WeakMap<Scope, WeakMap<readonly Tool[], Made>>();
  const make = (scope: Scope, server: string, tool: Tool): Thing | null => {
    const canonical = canonicalName(server, tool.name);
    const bare = prefixes.get(server) === "none" && !impersonated({ server, name: tool.name }, servers);
    const wire =
      scope.rename[canonical] ?? fitName(bare ? tool.name : fullName(server, tool.name), canonical, init.names.max);
    const route = { ...routeOf("tools", server, tool.name, wire), tool };
    return scope.admits(route) ? { route, text: tool.text } : null;
  };
  /** What the names look like of all that clients of this kind are shown. */
  const looksOf = (scope: Scope, input: string): ReadonlySet<string> => {
    const byInput = looks.get(scope) ?? new Map<string, ReadonlySet<string>>();
    looks.set(scope, byInput);
    let look = byInput.get(input);
    if (!look) {
      const shown = scope.things.tools.filter(({ route }) => route.tool?.shownTo?.has(input) !== false);
      byInput.set(input, (look = new Set(shown.map(({ route }) => skeleton(route.wire)))));
    }
    return look;
  };
  const find = (scope: Scope, offers: ReadonlyMap<string, readonly Tool[]>, input: string): readonly Thing[] => {
    const taken = looksOf(scope, input);
    const found: Thing[] = [];
    for (const [server, tools] of offers) {
      for (const tool of tools) {
        const thing = make(scope, server, tool);
        if (thing && !taken.has(skeleton(thing.route.wire))) found.push(thing);
      }
    }
    const alike = Map.groupBy(found, ({ route }) => skeleton(route.wire));
    return found.filter(({ route }) => alike.get(skeleton(route.wire))?.length === 1);
  };
  return (scope, party) => {
    const offers = init.ownTools(party);
    const [first] = offers.values();
    if (!first) return none;
    const input = inputKey(party.capabilities);
    const before = made.get(scope) ?? new WeakMap<readonly Tool[], Made>();
    made.set(scope, before);
    const last = before.get(first);
    const all = [...offers.values()];
    if (last?.input === input && last.offers.length === all.length && all.every((each, at) => each === last.offers[at]))
      return last.things;
    const things = find(scope, offers, input);
    before.set(first, { input, offers: all, things });
    return things;
  };
}
