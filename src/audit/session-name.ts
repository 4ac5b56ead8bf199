import { hashText, sha256 } from "./chain.ts";

const names = new WeakMap<object, string>();

/** The name of a session in all records. Not its id: with that, a reader of the log could take the session over. */
export function sessionName(session: { readonly id: string }): string {
  const known = names.get(session);
  if (known !== undefined) return known;
  const name = hashText(sha256(session.id)).slice(0, 22);
  names.set(session, name);
  return name;
}
