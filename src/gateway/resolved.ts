import type { Route } from "../core/call.ts";
import type { UpstreamRequest } from "../core/upstream.ts";

/** A resolved request: where it goes, how that is decided, and what the server is sent. */
export type Resolved = {
  readonly route: Route;
  readonly request: UpstreamRequest;
  /**
   * Takes the place of the decision on the route alone; sets the call's verdict and throws, as `Policy.decide` does.
   */
  readonly decide?: () => void;
};
