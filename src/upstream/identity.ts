import { secretsOf, type ServerOptions, transportOptionsOf } from "./options.ts";

/** SHA-256 of a value's JSON, hex. */
export const digest = (value: unknown): string => Bun.SHA256.hash(JSON.stringify(value), "hex");

/**
 * A digest of the options that running processes depend on: a server can take over those of another of the same
 * identity.
 */
export const identityOf = (options: ServerOptions): string =>
  digest([options.id, options.enabled, options.isolation, options.protocol, transportOptionsOf(options)]);

/**
 * A digest of the options that a server's lists depend on. It is stored, so it leaves out values that may be secret.
 */
export function listIdentityOf(options: ServerOptions): string {
  const { headers: _headers, env: _env, ...shown } = transportOptionsOf(options);
  return digest([options.id, shown, Object.keys(secretsOf(options))]);
}
