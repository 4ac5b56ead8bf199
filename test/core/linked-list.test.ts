import { expect, test } from "bun:test";
import fc from "fast-check";
import { List, type ListNode } from "../../src/core/linked-list.ts";

test("a list holds the same items in the same order as a Set", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20)), (steps) => {
      const list = new List<number>();
      const set = new Set<number>();
      const places = new Map<number, ListNode<number>>();
      for (const [item, step] of steps.entries()) {
        const found = places.get(step);
        if (found) expect(list.delete(found)).toBe(set.delete(found.item));
        places.set(item, list.add(item));
        set.add(item);
        expect(list.items).toEqual([...set]);
        expect(list.size).toBe(set.size);
      }
    }),
  );
});
