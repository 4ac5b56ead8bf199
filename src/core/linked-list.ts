/** The position of an item in its list. */
export type ListNode<T> = { readonly item: T; before: ListNode<T> | null; after: ListNode<T> | null };

/**
 * Items in order of arrival; any item can be removed at any time. It replaces a Set for what every call enters and
 * leaves: the rehashing of a Set keeps dead entries reachable until a full collection (measured).
 */
export class List<T> {
  #first: ListNode<T> | null = null;
  #last: ListNode<T> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get first(): T | undefined {
    return this.#first?.item;
  }

  /** All items in the list, oldest first. */
  get items(): T[] {
    const all: T[] = [];
    for (let node = this.#first; node; node = node.after) all.push(node.item);
    return all;
  }

  add(item: T): ListNode<T> {
    const node: ListNode<T> = { item, before: this.#last, after: null };
    if (this.#last) this.#last.after = node;
    else this.#first = node;
    this.#last = node;
    this.#size++;
    return node;
  }

  /** Removes a node; returns false if it was already removed. */
  delete(node: ListNode<T>): boolean {
    const { before, after } = node;
    if (!before && this.#first !== node) return false;
    if (before) before.after = after;
    else this.#first = after;
    if (after) after.before = before;
    else this.#last = before;
    // Unlinks the node from its neighbors: a removed node that is still held would keep them alive.
    node.before = node.after = null;
    this.#size--;
    return true;
  }
}
