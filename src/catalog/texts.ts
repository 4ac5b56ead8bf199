import type { Era } from "../core/inbound.ts";
import { appUri, definitionText, type Rewrite } from "./definition.ts";
import type { Thing } from "./things.ts";

type Made = { readonly app: string | null; legacy?: string; modern?: string; print?: string };

// By thing, which lives as long as some catalog offers it unchanged: a change of one server costs the others nothing.
const made = new WeakMap<Thing, Made>();
const asIs: Rewrite = () => null;

/** Texts of definitions, each made once. */
export type Texts = {
  of(thing: Thing, era: Era): string;
  /** Differs where the definition does. */
  print(thing: Thing): string;
};

/** `rewrites` as `Resources` has it. */
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
