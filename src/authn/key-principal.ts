import type { Principal } from "../core/principal.ts";
import type { Entry } from "./entry.ts";

/**
 * A caller with a key. This is a class because a getter in an object literal would give each principal its own object
 * shape, which slows every reader.
 */
export class KeyPrincipal implements Principal {
  readonly id: string;
  readonly method = "api-key";
  readonly keyId: string;
  readonly consumerId: string;
  readonly name: string;
  readonly roles: readonly string[];
  readonly rate: Principal["rate"];
  readonly #entry: Entry;

  constructor(entry: Entry) {
    this.id = `key:${entry.id}`;
    this.keyId = entry.id;
    this.consumerId = entry.consumerId;
    this.name = entry.name;
    this.roles = entry.roles;
    this.rate = entry.rate;
    this.#entry = entry;
  }

  /** Created on first use: most of 100,000 keys never hold a stream open. */
  get revoked(): AbortSignal {
    const entry = this.#entry;
    // A principal that outlived its key gets a signal that is already aborted.
    if (entry.principal !== this) return AbortSignal.abort(entry.lost);
    return (entry.controller ??= new AbortController()).signal;
  }
}
