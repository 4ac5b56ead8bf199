import type { Route } from "../core/call.ts";
import type { UpstreamRequest } from "../core/upstream.ts";

/** A resolved request: its route, how it is decided, and the request to the server. */
export type Resolved = {
  readonly route: Route;
  readonly request: UpstreamRequest;
  /** Replaces the decision on the route alone; sets the call's verdict and throws, as `Policy.decide` does. */
  readonly decide?: () => void;
};
