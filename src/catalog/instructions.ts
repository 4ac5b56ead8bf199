import { cutBytes } from "../core/text.ts";
import type { Listing } from "../core/upstream.ts";
import type { Scope } from "./scopes.ts";

const maxTotalBytes = 8192;

/**
 * Returns the description of the endpoint and the instructions of its servers, under headings if there are several; at
 * most 8 KiB. Returns null if there is no text.
 */
export function instructionsOf({ id, servers, description }: Scope, listings: readonly Listing[]): string | null {
  const said = listings.filter(({ server, instructions }) => servers.has(server) && instructions?.trim());
  const alone = servers.size === 1 && servers.has(id);
  const parts = said.map(({ server, instructions }) => (alone ? `${instructions}` : `# ${server}\n\n${instructions}`));
  const text = [...(description ? [description] : []), ...parts].join("\n\n");
  if (text === "") return null;
  // Some parsers reject a whole handshake that contains a lone surrogate.
  const whole = text.toWellFormed();
  return Buffer.byteLength(whole) <= maxTotalBytes
    ? whole
    : `${cutBytes(whole, maxTotalBytes - Buffer.byteLength("…"))}…`;
}
