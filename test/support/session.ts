import type { ClientSession } from "../../src/core/call.ts";

/** What of a session matters only to those who subscribe. */
export const noSubscriptions: Pick<ClientSession, "subscribedTo" | "keepSubscription" | "endSubscription"> = {
  subscribedTo: () => false,
  keepSubscription: (_uri, end) => end(),
  endSubscription() {},
};
