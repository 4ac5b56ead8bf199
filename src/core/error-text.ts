/** Returns the first error: if disposal fails too, `using` throws an error for both that has no message. */
const firstOf = (error: unknown): unknown => (error instanceof SuppressedError ? firstOf(error.suppressed) : error);

/** Returns the message of a thrown value. */
export function messageOf(thrown: unknown): string {
  const error = firstOf(thrown);
  return error instanceof Error ? error.message : String(error);
}

/** Returns the code of a system error, e.g. `ENOENT`; null if it has none. */
export function codeOf(thrown: unknown): string | null {
  const error = firstOf(thrown);
  return error instanceof Error && "code" in error ? String(error.code) : null;
}
