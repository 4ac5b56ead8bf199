import { createHash } from "node:crypto";
import { placeOf, secretsOf, type ServerOptions } from "./options.ts";

/** SHA-256 of a value's JSON, hex. */
export const digest = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("hex");

/** What a running server depends on: one server can take over the processes of another of the same identity. */
export const identityOf = (options: ServerOptions): string =>
  digest([options.id, options.enabled, options.isolation, options.protocol, placeOf(options)]);

/** What a server's list depends on; without values that may be secret, because it is stored. */
export function listIdentityOf(options: ServerOptions): string {
  const { headers: _headers, env: _env, ...place } = placeOf(options);
  return digest([options.id, place, Object.keys(secretsOf(options))]);
}
