/** Where an item stands in its list. */
export type Place<T> = { readonly item: T; before: Place<T> | null; after: Place<T> | null };

/**
 * Items in the order in which they came, each of which may leave at any time: a Set for what every call passes through.
 * A Set makes itself new tables all the time then, and each of them keeps alive what the garbage collector finds in
 * those after it: most of what calls leave behind would stay until a full collection.
 */
export class List<T> {
  #first: Place<T> | null = null;
  #last: Place<T> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The oldest item. */
  get first(): T | undefined {
    return this.#first?.item;
  }

  /** All that is in it now, oldest first. */
  get items(): T[] {
    const all: T[] = [];
    for (let place = this.#first; place; place = place.after) all.push(place.item);
    return all;
  }

  add(item: T): Place<T> {
    const place: Place<T> = { item, before: this.#last, after: null };
    if (this.#last) this.#last.after = place;
    else this.#first = place;
    this.#last = place;
    this.#size++;
    return place;
  }

  /** False when it has left already. */
  delete(place: Place<T>): boolean {
    const { before, after } = place;
    if (!before && this.#first !== place) return false;
    if (before) before.after = after;
    else this.#first = after;
    if (after) after.before = before;
    else this.#last = before;
    // What is gone must not lead to what came later.
    place.before = place.after = null;
    this.#size--;
    return true;
  }
}
