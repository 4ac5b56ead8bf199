import type { Gateway } from "../gateway/gateway.ts";

/** Bytes that may wait until a client reads them; a slower one loses notifications, never a result. */
export const maxQueued = 1024 ** 2;

/** Lists and other answers of the gateway itself are not bound by limits.result. */
const leastOwed = 8 * 1024 ** 2;

/**
 * Bytes after which a client that does not read even its results counts as gone. Several of the longest may be ready at
 * the same moment, before anybody could have read one.
 */
export const maxOwed = ({ shape }: Gateway): number => maxQueued + Math.max(4 * shape.result, leastOwed);
