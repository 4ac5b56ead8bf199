/** What was thrown first: where letting go of something fails too, `using` throws an error without a text for both. */
const firstOf = (error: unknown): unknown => (error instanceof SuppressedError ? firstOf(error.suppressed) : error);

/** The message of whatever was thrown. */
export function messageOf(thrown: unknown): string {
  const error = firstOf(thrown);
  return error instanceof Error ? error.message : String(error);
}

/** The code of a system error, e.g. `ENOENT`; null if it has none. */
export function codeOf(thrown: unknown): string | null {
  const error = firstOf(thrown);
  return error instanceof Error && "code" in error ? String(error.code) : null;
}
