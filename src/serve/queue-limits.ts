/** Bytes that may wait until a client reads them; a slower one loses notifications, never a result. */
export const maxQueued = 1024 ** 2;
/** Bytes after which a client that does not read even its results counts as gone. */
export const maxOwed = 8 * 1024 ** 2;
