import type { Principal } from "../core/principal.ts";
import type { Thing } from "./things.ts";

/** One caller's view of one list, with the texts made of it. */
export type View = {
  readonly things: readonly Thing[];
  /** A text of this view, made once; `id` names it. */
  text(id: string, make: () => string): string;
};

/** The views of one catalog, by caller and list. Limited: the oldest are dropped first. */
export type Views = {
  /**
   * `place` is the part of the caller's source that rules test (see `Policy.placeOf`), `callers` what only its own
   * instances offer: a view is made anew once that is another array.
   */
  get(who: Principal, place: string, list: string, callers: readonly Thing[], make: () => readonly Thing[]): View;
};

type Entry = {
  readonly who: Principal;
  readonly callers: readonly Thing[];
  readonly view: View;
  readonly weight: () => number;
};

// Not a BoundedMap: a view grows while it is kept, and the limit is on the weight of all views together. Weight is in
// characters of text; each thing in a view counts as eight.
const mostWeight = 32 * 1024 ** 2;
const perThing = 8;
const mostEntries = 20_000;

/** Creates the views of one catalog; each is made when it is first asked for. */
export function createViews(): Views {
  const entries = new Map<string, Entry>();
  let weight = 0;
  const drop = (id: string): void => {
    weight -= entries.get(id)?.weight() ?? 0;
    entries.delete(id);
  };
  const shrink = (keep: string): void => {
    for (const oldest of entries.keys()) {
      if (weight <= mostWeight && entries.size <= mostEntries) return;
      if (oldest !== keep) drop(oldest);
    }
  };
  return {
    get(who, place, list, callers, make) {
      const id = `${list} ${who.id} ${place}`;
      const known = entries.get(id);
      if (known?.who === who && known.callers === callers) return known.view;
      const things = make();
      drop(id);
      let own = things.length * perThing;
      weight += own;
      const texts = new Map<string, string>();
      const view: View = {
        things,
        text(name, write) {
          const written = texts.get(name);
          if (written !== undefined) return written;
          const text = write();
          // Only a kept view counts. One that was dropped while in use disappears with its last reference.
          if (entries.get(id)?.view === view) {
            own += text.length;
            weight += text.length;
            texts.set(name, text);
            shrink(id);
          }
          return text;
        },
      };
      entries.set(id, { who, callers, view, weight: () => own });
      shrink(id);
      return view;
    },
  };
}
