import type { AbortControllerLike } from "../core/cancel.ts";
import { Failure } from "../core/failure.ts";
import { List } from "../core/list.ts";

/** Running calls by the signal that fires when their caller loses its rights. */
const running = new WeakMap<AbortSignal, List<AbortControllerLike>>();

/** Ends a call together with its caller's key; one listener serves all calls of a key. Returns the way to stop. */
export function endWith(revoked: AbortSignal, controller: AbortControllerLike): () => void {
  let calls = running.get(revoked);
  if (!calls) {
    const all = new List<AbortControllerLike>();
    running.set(revoked, (calls = all));
    revoked.addEventListener("abort", () => all.items.forEach((one) => one.abort()), { once: true });
  }
  if (revoked.aborted) controller.abort();
  const own = calls;
  const place = own.add(controller);
  return () => void own.delete(place);
}

/** The call ended because its key lost its rights: unlike a call that its caller gave up, it is owed an answer. */
export function rightsLost(): Failure {
  return new Failure("unauthenticated", "The key was revoked, has expired or was frozen while the call ran.");
}
