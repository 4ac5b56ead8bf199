import { canonical } from "../core/canonical.ts";
import { secretsOf, type ServerOptions, transportOptionsOf } from "./options.ts";

/** SHA-256 of a value's JSON, hex. */
export const digest = (value: unknown): string => Bun.SHA256.hash(JSON.stringify(value), "hex");

/** Without the values that may be secret. */
function shownOf(options: ServerOptions): Record<string, unknown> {
  const { headers: _headers, env: _env, ...shown } = transportOptionsOf(options);
  return shown;
}

/**
 * A digest of the options that running processes depend on: a server can take over those of another of the same
 * identity. The order in which a file names variables or headers means nothing.
 */
export function identityOf(options: ServerOptions): string {
  const { id, enabled, isolation, protocol } = options;
  return digest([id, enabled, isolation, protocol, shownOf(options), canonical(secretsOf(options))]);
}

/**
 * A digest of the options that a server's lists depend on. It is stored, so it leaves out values that may be secret.
 */
export const listIdentityOf = (options: ServerOptions): string =>
  digest([options.id, shownOf(options), Object.keys(secretsOf(options)).toSorted()]);
