import { canonical } from "../core/canonical.ts";
import { secretsOf, type ServerOptions, transportOptionsOf } from "./options.ts";

/** Returns the SHA-256 of a value's JSON in hex. */
export const digest = (value: unknown): string => Bun.SHA256.hash(JSON.stringify(value), "hex");

/** Returns the transport's options without the values that may be secret. */
function shownOf(options: ServerOptions): Record<string, unknown> {
  const { headers: _headers, env: _env, ...shown } = transportOptionsOf(options);
  return shown;
}

/**
 * Digests the options that running processes depend on; servers of equal identity can take over each other's processes.
 * The order of variables and headers does not matter.
 */
export function identityOf(options: ServerOptions): string {
  const { id, enabled, isolation, protocol } = options;
  return digest([id, enabled, isolation, protocol, shownOf(options), canonical(secretsOf(options))]);
}

/** Digests the options that a server's lists depend on. It is stored, so it leaves out values that may be secret. */
export const listIdentityOf = (options: ServerOptions): string =>
  digest([options.id, shownOf(options), Object.keys(secretsOf(options)).toSorted()]);
