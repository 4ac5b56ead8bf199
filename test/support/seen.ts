/** The items received so far, in order; a test can wait for future ones. */
export class Seen<T> {
  readonly all: T[] = [];
  readonly #waiting = new Set<{ test: (item: T) => boolean; resolve: (item: T) => void }>();

  push(item: T): void {
    this.all.push(item);
    for (const waiting of this.#waiting) {
      if (!waiting.test(item)) continue;
      this.#waiting.delete(waiting);
      waiting.resolve(item);
    }
  }

  /** Resolves to the first item, past or future, for which `test` returns true. */
  first(test: (item: T) => boolean): Promise<T> {
    const index = this.all.findIndex(test);
    if (index >= 0) return Promise.resolve(this.all[index] as T); // it was found there
    return new Promise((resolve) => this.#waiting.add({ test, resolve }));
  }
}

/** Yields the lines of a stream as they arrive, including a last one without a line end. */
export async function* linesOf(stream: AsyncIterable<Uint8Array> | null): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let line = "";
  for await (const chunk of stream ?? []) {
    const [rest = "", ...next] = decoder.decode(chunk, { stream: true }).split("\n");
    line += rest;
    for (const begun of next) {
      yield line;
      line = begun;
    }
  }
  if (line !== "") yield line;
  return undefined;
}
