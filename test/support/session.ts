import type { ClientSession } from "../../src/core/call.ts";
import { noCapabilities } from "../../src/core/inbound.ts";

/** Returns the session of a client of alice. */
export const clientSession = (id: string, capabilities = noCapabilities): ClientSession => ({
  id,
  owner: "alice",
  revision: "2025-11-25",
  capabilities,
  logLevel: null,
  subscribedTo: () => null,
  keepSubscription: (_uri, _target, end) => end(),
  endSubscription() {},
  askSubscription: () => () => {},
});
