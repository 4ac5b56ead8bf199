import type { Presented } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";

/** Returns a principal, or null for "not my credential". Throws `unauthenticated` for a rejected credential. */
export type Method = (presented: Presented) => Principal | null;
