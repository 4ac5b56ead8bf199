import type { Principal } from "../core/principal.ts";
import type { Keyring } from "./keyring.ts";
import type { Method } from "./method.ts";
import type { AuthOptions } from "./options.ts";

/**
 * Creates the method that accepts all callers on this host as one principal. It returns null for callers from the
 * network, and for requests that a proxy may have forwarded.
 */
export function createAnonymous(keyring: Keyring, options: AuthOptions): Method {
  const roles = options.roles ?? [];
  return ({ source }) => {
    if (source.forwarded || (source.transport === "http" && !source.loopback)) return null;
    return anonymousPrincipal(roles, keyring);
  };
}

/** Any caller of a gateway that does not distinguish callers. */
export const anonymousPrincipal = (roles: readonly string[], keyring: Keyring): Principal => ({
  ...keyless({ id: "anonymous", method: "none", consumerId: "anonymous", name: "anonymous", roles }),
  revoked: keyring.changedSignal(),
});

/** The local administrator, `local:<uid>`: a peer whose uid the kernel vouches for. */
export const localPrincipal = (uid: number, keyring: Keyring): Principal => ({
  ...keyless({ id: `local:${uid}`, method: "local", consumerId: `local:${uid}`, name: `uid ${uid}`, roles: ["admin"] }),
  revoked: keyring.frozenSignal(),
});

/** The parent process of an embedded `serve` that gave no key. */
export const stdioPrincipal = (
  { consumerId, roles }: NonNullable<AuthOptions["stdio"]>,
  keyring: Keyring,
): Principal => ({
  ...keyless({ id: `stdio:${consumerId}`, method: "stdio", consumerId, name: consumerId, roles }),
  // This principal lives as long as the process, so the current signal is read each time: a freeze may have ended.
  get revoked() {
    return keyring.frozenSignal();
  },
});

type Keyless = Pick<Principal, "id" | "method" | "consumerId" | "name" | "roles">;

const keyless = (who: Keyless): Omit<Principal, "revoked"> => ({ ...who, keyId: null, rate: null });
