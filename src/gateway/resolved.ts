import type { Route } from "../core/call.ts";
import type { UpstreamRequest } from "../core/upstream.ts";

/** A resolved request: its route, and what its server is sent if that is allowed. */
export type Resolved = {
  readonly route: Route;
  readonly request: UpstreamRequest;
  /** Takes the place of the decision on the route alone; sets the call's verdict and throws, as `Policy.decide` does. */
  readonly decide?: () => void;
};
