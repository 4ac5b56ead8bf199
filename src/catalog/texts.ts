import type { Era } from "../core/inbound.ts";
import { appUri, definitionText, type Rewrite } from "./definition.ts";
import type { Thing } from "./things.ts";

type Made = { readonly app: string | null; legacy?: string; modern?: string; print?: string };

// Keyed by thing: a thing lives as long as some catalog offers it unchanged, so a change of one server costs the others
// nothing.
const made = new WeakMap<Thing, Made>();
const asIs: Rewrite = () => null;

function entryOf(thing: Thing, rewrite: Rewrite | null): Made {
  const known = made.get(thing);
  const uri = rewrite && appUri(thing.text);
  const app = uri && rewrite ? rewrite(uri) : null;
  if (known && known.app === app) return known;
  const fresh: Made = { app };
  made.set(thing, fresh);
  return fresh;
}

/** The text of a definition, made once; `rewrite` is that of its server. */
export const textOf = (thing: Thing, era: Era, rewrite: Rewrite | null): string =>
  (entryOf(thing, rewrite)[era] ??= definitionText(thing, era, rewrite ?? asIs));

/** A fingerprint of that definition. */
export const printOf = (thing: Thing, rewrite: Rewrite | null): string =>
  (entryOf(thing, rewrite).print ??= Bun.hash(textOf(thing, "modern", rewrite)).toString(36));
