import type { Principal } from "../core/principal.ts";
import type { Entry } from "./entries.ts";

/** One caller's view of one list, with the texts made from it. */
export type View = {
  readonly entries: readonly Entry[];
  /** Returns a text of this view, which is made once; `id` identifies it. */
  text(id: string, make: () => string): string;
};

type Kept = View & { readonly who: Principal; readonly callers: readonly Entry[]; weight: number };

// Not a BoundedMap: a view grows while it is kept, and the limit applies to the weight of all views together:
// characters of text, and eight for each entry.
const maxWeight = 32 * 1024 ** 2;
const perEntry = 8;
const maxEntries = 20_000;

/** The views of one catalog, by caller and list. The oldest are evicted first. */
export class Views {
  readonly #kept = new Map<string, Kept>();
  #weight = 0;

  /** Returns a view. `of` distinguishes the caller's views; a view is made again once `callers` is another array. */
  get(who: Principal, of: string, callers: readonly Entry[], make: () => readonly Entry[]): View {
    const id = `${of} ${who.id}`;
    const known = this.#kept.get(id);
    if (known?.who === who && known.callers === callers) return known;
    const entries = make();
    const texts = new Map<string, string>();
    const view: Kept = {
      who,
      callers,
      entries,
      weight: 0,
      text: (name, write) => {
        const written = texts.get(name);
        if (written !== undefined) return written;
        const text = write();
        // Only a kept view counts. A view that was evicted while in use is freed with its last reference.
        if (this.#kept.get(id) === view) {
          texts.set(name, text);
          this.#grow(id, view, text.length);
        }
        return text;
      },
    };
    this.#drop(id);
    this.#kept.set(id, view);
    this.#grow(id, view, entries.length * perEntry);
    return view;
  }

  #grow(id: string, view: Kept, by: number): void {
    view.weight += by;
    this.#weight += by;
    for (const oldest of this.#kept.keys()) {
      if (this.#weight <= maxWeight && this.#kept.size <= maxEntries) return;
      if (oldest !== id) this.#drop(oldest);
    }
  }

  #drop(id: string): void {
    this.#weight -= this.#kept.get(id)?.weight ?? 0;
    this.#kept.delete(id);
  }
}
