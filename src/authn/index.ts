import { Failure } from "../core/failure.ts";
import type { Authn, Presented, Throttle } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import { createApiKey, refuse } from "./api-key.ts";
import { createAnonymous } from "./keyless.ts";
import type { Keyring } from "./keyring.ts";
import type { Method } from "./method.ts";
import type { AuthOptions } from "./options.ts";

const methods = {
  "api-key": createApiKey,
  none: createAnonymous,
} satisfies Record<AuthOptions["type"], (keyring: Keyring, options: AuthOptions) => Method>;

export type AuthnOptions = {
  readonly options: AuthOptions;
  readonly keyring: Keyring;
  readonly throttle: Throttle;
};

/**
 * Creates the first stage of the request path. A source whose credentials keep failing gets `throttled`, but a valid
 * key always passes: many agents share one address, and keys are far too long to guess.
 */
export function createAuthn({ options, keyring, throttle }: AuthnOptions): Authn {
  const method: Method = methods[options.type](keyring, options);
  return {
    identify(call) {
      if (keyring.frozen) throw new Failure("frozen", "All access is frozen by the operator; try again later.");
      if (call.vouched) return stillVouched(call.vouched);
      try {
        requireOneCredential(call);
        const who = method(call);
        if (who) return who;
      } catch (error) {
        throw slowDown(error, call, throttle);
      }
      throw missing(options.type);
    },
  };
}

// A connection outlives the call that opened it, so its key is checked again for each call.
function stillVouched(who: Principal): Principal {
  if (!who.revoked.aborted) return who;
  throw refuse("Your access was revoked or changed; connect again.", `${who.id} is revoked`);
}

// A header that was sent twice arrives as one value joined by a comma, which no key contains.
function requireOneCredential({ credentials }: Presented): void {
  if (credentials.length <= 1 && !credentials[0]?.includes(",")) return;
  throw new Failure("two-credentials", "Send exactly one credential: Authorization: Bearer … or X-API-Key: …");
}

function slowDown(error: unknown, { source }: Presented, throttle: Throttle): unknown {
  const retryAfterMs = throttle.blockedFor(source);
  if (retryAfterMs === 0) {
    throttle.failed(source);
    return error;
  }
  const internal = error instanceof Failure ? error.detail.internal : undefined;
  return new Failure("throttled", "Too many failed credentials from this address; wait before the next attempt.", {
    retryAfterMs,
    internal,
  });
}

function missing(type: AuthOptions["type"]): Failure {
  const message =
    type === "none"
      ? "This gateway accepts direct requests only from its own host."
      : "An API key is required: send Authorization: Bearer … or X-API-Key: …";
  return new Failure("unauthenticated", message, { challenge: 'Bearer realm="mcpgw"' });
}
