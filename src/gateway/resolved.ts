import type { Route } from "../core/call.ts";
import type { UpstreamRequest } from "../core/upstream.ts";

/** A resolved request: its route, and the steps that follow. */
export type Resolved = {
  readonly route: Route;
  /**
   * Takes the place of the decision on the route alone; sets the call's verdict and throws, as `Policy.decide` does.
   */
  readonly decide?: () => void;
  /**
   * Builds the request for the server. Not before the decision: what is wrong with it may show that its target exists.
   */
  readonly request: () => UpstreamRequest;
};
