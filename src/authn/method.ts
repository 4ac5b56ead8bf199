import type { Presented } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";

/**
 * One way to authenticate: returns a principal, or null for "not my credential". Throws `unauthenticated` for a
 * credential that is not accepted.
 */
export type Method = (presented: Presented) => Principal | null;
