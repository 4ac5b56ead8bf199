import { createHash } from "node:crypto";
import type { ServerOptions } from "./options.ts";

/** SHA-256 of a value's JSON, hex. */
export const digest = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("hex");

/** What a running server depends on: one server can take over the processes of another of the same identity. */
export function identityOf(options: ServerOptions): string {
  const common = [options.id, options.enabled, options.isolation, options.protocol];
  if ("url" in options) {
    const { url, transport, getStream, headers, proxy } = options;
    return digest([...common, url, transport, getStream, headers, proxy]);
  }
  if ("builtin" in options) return digest([...common, options.builtin]);
  return digest([...common, options.command, options.args, options.env, options.cwd]);
}

/** What a server's list depends on; without values that may be secret, because it is stored. */
export function listIdentityOf(options: ServerOptions): string {
  if ("url" in options) return digest([options.id, options.url, Object.keys(options.headers)]);
  if ("builtin" in options) return digest([options.id, options.builtin]);
  return digest([options.id, options.command, options.args, Object.keys(options.env), options.cwd]);
}
