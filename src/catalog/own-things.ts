import type { Party, Tool } from "../core/call.ts";
import { canonicalName, ownServer } from "../core/name.ts";
import type { Prefix } from "../core/options.ts";
import type { Validator } from "../core/ports.ts";
import { fitName, fullName, impersonated, skeleton } from "./names.ts";
import type { NamesOptions } from "./options.ts";
import type { Scope } from "./scopes.ts";
import { routeOf, type Thing, unusable } from "./things.ts";

/** The tools that a caller's own instances offer besides those that everybody is offered, within a scope. */
export type OwnThings = (scope: Scope, party: Party) => readonly Thing[];

export type OwnThingsInit = {
  readonly servers: readonly { readonly id: string; readonly prefix: Prefix }[];
  readonly names: NamesOptions;
  readonly validator: Validator;
  /** The tools that only the party's own instances offer now, by server. */
  readonly ownTools: (party: Party) => ReadonlyMap<string, readonly Tool[]>;
};

const none: readonly Thing[] = [];

/**
 * Finds them for each caller anew: what one caller's instance offers must change nothing for another. They yield to what
 * everybody is offered, and to each other where their names cannot be told apart.
 */
export function createOwnThings(init: OwnThingsInit): OwnThings {
  const prefixes = new Map(init.servers.map(({ id, prefix }) => [id, prefix]));
  const servers = [ownServer, ...prefixes.keys()];
  // Others compare routes by identity.
  const known = new WeakMap<Scope, WeakMap<Tool, Thing | null>>();
  const looks = new WeakMap<Scope, ReadonlySet<string>>();
  const make = (scope: Scope, server: string, tool: Tool): Thing | null => {
    const canonical = canonicalName(server, tool.name);
    if (unusable(init.validator, tool) !== null) return null;
    const bare = prefixes.get(server) === "none" && !impersonated({ server, name: tool.name }, servers);
    const wire =
      scope.rename[canonical] ?? fitName(bare ? tool.name : fullName(server, tool.name), canonical, init.names.max);
    const route = { ...routeOf("tools", server, tool.name, wire), tool };
    return scope.admits(route) ? { route, text: tool.text } : null;
  };
  const looksOf = (scope: Scope): ReadonlySet<string> => {
    let look = looks.get(scope);
    if (!look) looks.set(scope, (look = new Set(scope.things.tools.map(({ route }) => skeleton(route.wire)))));
    return look;
  };
  return (scope, party) => {
    const offers = init.ownTools(party);
    if (offers.size === 0) return none;
    const things = known.get(scope) ?? new WeakMap<Tool, Thing | null>();
    known.set(scope, things);
    const found: Thing[] = [];
    for (const [server, tools] of offers) {
      for (const tool of tools) {
        let thing = things.get(tool);
        if (thing === undefined) things.set(tool, (thing = make(scope, server, tool)));
        if (thing && !looksOf(scope).has(skeleton(thing.route.wire))) found.push(thing);
      }
    }
    const alike = Map.groupBy(found, ({ route }) => skeleton(route.wire));
    return found.filter(({ route }) => alike.get(skeleton(route.wire))?.length === 1);
  };
}
