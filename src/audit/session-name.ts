import { memoize } from "../core/memoize.ts";
import { hashText, sha256 } from "./chain.ts";

/** Returns a session's name in records: with the session id, a reader of the log could take over the session. */
export const sessionName: (session: { readonly id: string }) => string = memoize(({ id }) =>
  hashText(sha256(id)).slice(0, 22),
);
