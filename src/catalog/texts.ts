import type { Era } from "../core/inbound.ts";
import { appUri, type Rewrite } from "./app-uri.ts";
import { definitionText } from "./definition.ts";
import type { Entry } from "./entries.ts";

type Made = { readonly app: string | null; legacy?: string; modern?: string; print?: string };

// An entry lives as long as some catalog offers it unchanged, so the change of one server costs the others nothing.
const made = new WeakMap<Entry, Made>();
const noRewrite: Rewrite = () => null;

function madeOf(entry: Entry, rewrite: Rewrite | null): Made {
  const known = made.get(entry);
  const uri = rewrite && appUri(entry.text);
  const app = uri && rewrite ? rewrite(uri) : null;
  if (known && known.app === app) return known;
  const fresh: Made = { app };
  made.set(entry, fresh);
  return fresh;
}

/** Returns the text of a definition, which is made once; `rewrite` is the rewrite function of its server. */
export const textOf = (entry: Entry, era: Era, rewrite: Rewrite | null): string =>
  (madeOf(entry, rewrite)[era] ??= definitionText(entry, era, rewrite ?? noRewrite));

/** Returns a fingerprint of that definition. */
export const printOf = (entry: Entry, rewrite: Rewrite | null): string =>
  (madeOf(entry, rewrite).print ??= Bun.hash(textOf(entry, "modern", rewrite)).toString(36));
