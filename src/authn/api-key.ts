import { Failure } from "../core/failure.ts";
import { hashKey } from "../core/key-hash.ts";
import type { Keyring, KeyState } from "./keyring.ts";
import type { Method } from "./method.ts";
import { isMalformedKey } from "./new-key.ts";
import { maxKeyLength } from "./strength.ts";

// A caller that holds the key may learn its state.
const refusals: Record<Exclude<KeyState, "active" | "inert">, string> = {
  revoked: "This API key was revoked; ask the operator for a new one.",
  expired: "This API key has expired; ask the operator for a new one.",
  disabled: "This API key is disabled; ask the operator to enable it.",
};

/** Returns the failure for a rejected credential: a 401 with a challenge. */
export const refuse = (message: string, internal: string): Failure =>
  new Failure("unauthenticated", message, { challenge: 'Bearer realm="mcpgw", error="invalid_token"', internal });

/** The addresses that stand for a caller that did not come over a network. */
const thisHost = ["127.0.0.1", "::1"];

/** Creates the method that accepts keys of the keyring; it returns null without a credential. */
export function createApiKey(keyring: Keyring): Method {
  return ({ credentials, source }) => {
    const raw = credentials[0];
    if (raw === undefined) return null;
    if (raw === "")
      throw refuse("No API key was found: send Authorization: Bearer … or X-API-Key: …", "no key in the header");
    if (raw.length > maxKeyLength) throw refuse("The API key is not valid.", "longer than any key");
    const hash = hashKey(raw);
    const entry = keyring.find(hash);
    if (!entry || !sameHash(entry.hash, hash)) throw unknownKey(raw);
    const state = keyring.state(entry);
    if (state === "inert") throw refuse(`This API key ${entry.inert}.`, `key ${entry.id} is ${state}`);
    if (state !== "active") throw refuse(refusals[state], `key ${entry.id} is ${state}`);
    if (!(source.ip === null ? thisHost : [source.ip]).some((ip) => entry.allows(ip))) {
      throw refuse("This API key is not valid from this address.", `key ${entry.id} used from another network`);
    }
    return keyring.principal(entry);
  };
}

const unknownKey = (raw: string): Failure =>
  isMalformedKey(raw)
    ? refuse("The API key is mistyped or truncated: its checksum does not match.", "mistyped or truncated")
    : refuse("The API key is not valid.", "no such key");

/** Compares two hashes in constant time. */
function sameHash(a: string, b: string): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}
