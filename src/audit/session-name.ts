import { hashText, sha256 } from "./chain.ts";

const names = new WeakMap<object, string>();

/** Names a session, in calls and events alike, without the id that would let a reader of the log take it over. */
export function sessionName(session: { readonly id: string }): string {
  const known = names.get(session);
  if (known !== undefined) return known;
  const name = hashText(sha256(session.id)).slice(0, 22);
  names.set(session, name);
  return name;
}
