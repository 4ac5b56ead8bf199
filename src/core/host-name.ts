/**
 * Regex source for the host of a Host header, without its port. Container names may contain `_`, and a fully qualified
 * name may end with a dot.
 */
export const hostName = String.raw`(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?)`;

/** Returns the spelling in which host names are compared. */
export function normalizeHost(name: string): string {
  return name.toLowerCase().replace(/\.$/, "");
}
