import { memoize } from "../core/memoize.ts";
import { hashText, sha256 } from "./chain.ts";

/** The name of a session in all records. Not its id: with that, a reader of the log could take the session over. */
export const sessionName: (session: { readonly id: string }) => string = memoize(({ id }) =>
  hashText(sha256(id)).slice(0, 22),
);
