/**
 * The source of a pattern for a host as it stands in a Host header, without its port. Names of containers may hold `_`,
 * and a full name may end with a dot.
 */
export const hostName = String.raw`(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?)`;

/** The one spelling under which host names are compared. */
export function plainHost(name: string): string {
  return name.toLowerCase().replace(/\.$/, "");
}
