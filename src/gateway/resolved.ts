import type { Route } from "../core/call.ts";
import type { UpstreamRequest } from "../core/upstream.ts";

/** A resolved request: its route, and the steps that follow. */
export type Resolved = {
  readonly route: Route;
  /** Asks the policy; sets the call's verdict and throws, as `Policy.decide` does. */
  readonly decide: () => void;
  /** Builds the request for the server; throws `denied` and similar if part of it is not allowed. */
  readonly request: () => UpstreamRequest;
};
