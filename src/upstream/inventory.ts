import type { Tool } from "../core/call.ts";
import type { Era } from "../core/inbound.ts";
import { emptyListing, type Listing } from "../core/ports.ts";
import { type LeftOut, listTools, readTools } from "./discovery.ts";
import type { SetHost } from "./host.ts";
import { listIdentityOf } from "./identity.ts";
import type { LinkHost } from "./link.ts";
import type { ServerOptions } from "./options.ts";
import type { Instance } from "./pool.ts";

/** What one server offers, now or when it was last seen. */
export type Inventory = {
  readonly tools: readonly Tool[];
  readonly leftOut: readonly LeftOut[];
  readonly era: Era | null;
  /** Epoch µs of the last successful listing. */
  readonly listedAt: number | null;
  readonly stale: boolean;
};

/** What was remembered of a server, empty when nothing was. */
export function recall(options: ServerOptions, { lists, limits, refuses }: SetHost): Inventory {
  const remembered = lists.recall(options.id, listIdentityOf(options));
  const none: Inventory = { tools: [], leftOut: [], era: null, listedAt: null, stale: true };
  if (!remembered) return none;
  return { ...none, ...readTools(remembered.tools, remembered.era, { ...limits, refuses }), era: remembered.era };
}

/** Lists a server's tools and remembers them; the old list is kept, object for object, where nothing changed. */
export async function takeInventory(
  { link, peer }: Instance,
  linkHost: LinkHost,
  options: ServerOptions,
  host: SetHost,
  old: Inventory,
): Promise<Inventory> {
  const { limits, refuses, log, clock } = host;
  const list = await listTools(link, linkHost, peer, { ...limits, refuses });
  for (const warning of list.warnings) log.warn(warning, { server: options.id });
  const known = new Set(old.leftOut.map(({ name, reason }) => `${name}: ${reason}`));
  for (const { name, reason } of list.leftOut) {
    if (!known.has(`${name}: ${reason}`)) log.warn("a tool is not offered", { server: options.id, tool: name, reason });
  }
  const texts = list.tools.map(({ text }) => text);
  const same = texts.length === old.tools.length && texts.every((text, at) => text === old.tools[at]?.text);
  if (!same) remember(options, host, peer.era, texts);
  const tools = same ? old.tools : list.tools;
  return { tools, leftOut: list.leftOut, era: peer.era, listedAt: clock.now(), stale: false };
}

/** Only for the next start: a database that is locked or full now is no fault of the server. */
function remember(options: ServerOptions, { lists, log }: SetHost, era: Era, texts: readonly string[]): void {
  try {
    lists.remember(options.id, listIdentityOf(options), era, texts);
  } catch (error) {
    log.warn("a tool list was not remembered", { server: options.id, cause: String(error) });
  }
}

/** The inventory as the catalog sees it. */
export function listingOf(server: string, { tools, stale, leftOut }: Inventory): Listing {
  return { ...emptyListing, server, tools, stale, leftOut };
}
