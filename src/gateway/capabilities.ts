import type { Call, IdentifiedCall } from "../core/call.ts";
import { tasksExtension } from "../core/inbound.ts";
import { isObject } from "../core/json.ts";
import { ownServer } from "../core/name.ts";
import { mayUse } from "../core/rights.ts";
import type { Listing } from "../core/upstream.ts";
import { wellFormed } from "../mcp/json-text.ts";
import { type Gateway, inScope } from "./gateway.ts";
import { declaredExtensions } from "./extensions.ts";

const changes = { listChanged: true };
const everything = { tools: changes, prompts: changes, resources: changes, completions: {}, logging: {} };

type Capabilities = Listing["capabilities"];

const offeredBy = (listings: readonly Listing[]): Capabilities[] =>
  listings.flatMap(({ server, capabilities }) => (server === ownServer ? [] : [capabilities]));

/** Reports whether the capabilities of a server in the call's scope are not known yet. */
export const offersUnknown = (gw: Gateway, { scope }: Call): boolean => offeredBy(inScope(gw, scope)).includes(null);

/**
 * Returns the combined capabilities of all servers in the call's scope, as raw JSON for a handshake. The caller's
 * rights matter only for extensions, because servers name and describe those themselves.
 */
export function capabilitiesText(gw: Gateway, call: IdentifiedCall): string {
  const listings = inScope(gw, call.scope);
  const offered = offeredBy(listings);
  const said = offered.filter((each) => each !== null);
  const has = (name: string): boolean => said.some((capabilities) => Object.hasOwn(capabilities, name));
  // A server whose capabilities are not known counts as offering everything.
  const unknown = said.length < offered.length;
  const shown: Record<string, unknown> = { tools: changes };
  for (const [name, value] of Object.entries(everything)) if (unknown || has(name)) shown[name] = value;
  const subscribes = said.some(({ resources }) => isObject(resources) && resources.subscribe === true);
  if (unknown || subscribes) shown.resources = { ...changes, subscribe: true };
  const theirs = listings.filter(({ server }) => mayUse(gw.policy, call.who, call.source, server));
  const extensions = extensionsFor(call, theirs);
  if (Object.keys(extensions).length > 0) shown.extensions = extensions;
  return wellFormed(JSON.stringify(shown));
}

/**
 * Returns the extensions that the servers declare, by id. The settings are `{}` if servers differ or if they are not an
 * object, for which clients reject the whole handshake. A legacy client sees only extensions that it declared itself.
 */
function extensionsFor({ inbound, capabilities }: Call, listings: readonly Listing[]): Record<string, unknown> {
  const legacy = inbound.era === "legacy";
  const known = declaredExtensions(capabilities.value);
  const shown: Record<string, unknown> = {};
  for (const listing of listings) {
    for (const [id, declared] of Object.entries(declaredExtensions(listing.capabilities))) {
      if (legacy && (id === tasksExtension || !Object.hasOwn(known, id))) continue;
      const settings = isObject(declared) ? declared : {};
      const differs = Object.hasOwn(shown, id) && JSON.stringify(shown[id]) !== JSON.stringify(settings);
      shown[id] = differs ? {} : settings;
    }
  }
  return shown;
}
