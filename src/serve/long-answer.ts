import { onAbort } from "../core/cancel.ts";
import type { Principal } from "../core/principal.ts";
import type { Traffic } from "../session/traffic.ts";
import { boundUnread, mostUnasked, portion } from "./queue-limits.ts";

export type AnswerBody = string | ReadableStream<Uint8Array>;

/**
 * The body of an answer. A long one is handed to Bun as its client reads it: until then it counts towards what that
 * principal's clients have not read, and it is cut off with the key.
 */
export function bodyOf(text: string, who: Principal, traffic: Traffic, maxOwed: number): AnswerBody {
  return text.length > mostUnasked ? heldBack(new TextEncoder().encode(text), who, traffic, maxOwed) : text;
}

function heldBack(
  all: Uint8Array,
  { id, revoked }: Principal,
  traffic: Traffic,
  maxOwed: number,
): ReadableStream<Uint8Array> {
  const { length } = all;
  let bytes: Uint8Array | null = all;
  let begun = 0;
  let controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  const release = (): void => {
    bytes = null;
    uncount();
    unwatch();
  };
  const drop = (): void => {
    controller?.error();
    release();
  };
  const uncount = traffic.unread.add(id, { queued: () => length, drop });
  const unwatch = onAbort(revoked, drop);
  const body = new ReadableStream<Uint8Array>(
    {
      start: (own) => void (controller = own),
      pull(own) {
        if (!bytes) return;
        own.enqueue(bytes.subarray(begun, (begun += portion)));
        if (begun < length) return;
        own.close();
        release();
      },
      cancel: release,
    },
    new ByteLengthQueuingStrategy({ highWaterMark: portion }),
  );
  boundUnread(traffic, id, length, maxOwed);
  return body;
}
