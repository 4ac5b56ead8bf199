import type { Era } from "../core/inbound.ts";
import { appUri, definitionText, type Rewrite } from "./definition.ts";
import type { Thing } from "./things.ts";

type Made = { readonly app: string | null; legacy?: string; modern?: string; print?: string };

// Keyed by thing: a thing lives as long as some catalog offers it unchanged, so a change of one server costs the others
// nothing.
const made = new WeakMap<Thing, Made>();
const asIs: Rewrite = () => null;

/** The texts of definitions; each is made once. */
export type Texts = {
  of(thing: Thing, era: Era): string;
  /** A fingerprint of the definition. */
  print(thing: Thing): string;
};

/** Creates the texts; `rewrites` is that of `Resources`. */
export function createTexts(rewrites: (server: string) => Rewrite | null): Texts {
  const entry = (thing: Thing, rewrite: Rewrite | null): Made => {
    const known = made.get(thing);
    const uri = rewrite && appUri(thing.text);
    const app = uri && rewrite ? rewrite(uri) : null;
    if (known && known.app === app) return known;
    const fresh: Made = { app };
    made.set(thing, fresh);
    return fresh;
  };
  const of = (thing: Thing, era: Era): string => {
    const rewrite = rewrites(thing.route.server);
    const texts = entry(thing, rewrite);
    return (texts[era] ??= definitionText(thing, era, rewrite ?? asIs));
  };
  return {
    of,
    print(thing) {
      const texts = entry(thing, rewrites(thing.route.server));
      return (texts.print ??= Bun.hash(of(thing, "modern")).toString(36));
    },
  };
}
