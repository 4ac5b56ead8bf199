import type { Route } from "../core/call.ts";
import type { UpstreamRequest } from "../core/upstream.ts";

/** What a governed request comes to; the steps of the path after its resolution. */
export type Resolved = {
  /** Where it goes. */
  readonly route: Route;
  /** Whether it may: sets the verdict and throws, as `Policy.decide` does. */
  readonly decide: () => void;
  /** What is sent there then; throws `denied` and its kin for what of it may not be. */
  readonly request: () => UpstreamRequest;
};
