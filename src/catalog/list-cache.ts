import type { Era } from "../core/inbound.ts";
import type { Principal, Source } from "../core/principal.ts";

const maxChars = 32 * 1024 ** 2;

/** Lists by caller and era; it ends with the catalog it belongs to, and holds at most 32 Mi characters, oldest gone first. */
export type ListCache = { get(who: Principal, source: Source, era: Era, make: () => string): string };

type Entry = { readonly who: Principal; readonly from: string; readonly text: string };

export function createListCache(): ListCache {
  const entries = new Map<string, Entry>();
  let chars = 0;
  const drop = (id: string): void => {
    chars -= entries.get(id)?.text.length ?? 0;
    entries.delete(id);
  };
  return {
    get(who, source, era, make) {
      const id = `${era} ${who.id}`;
      const known = entries.get(id);
      // Rules may look at where the caller is.
      const from = JSON.stringify([source.transport, source.ip, source.loopback, source.forwarded]);
      if (known?.who === who && known.from === from) return known.text;
      const text = make();
      drop(id);
      entries.set(id, { who, from, text });
      chars += text.length;
      for (const oldest of entries.keys()) {
        if (chars <= maxChars) break;
        drop(oldest);
      }
      return text;
    },
  };
}
