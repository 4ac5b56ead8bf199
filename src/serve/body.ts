import { asFailure, Failure } from "../core/failure.ts";
import { decodeUtf8 } from "../mcp/utf8.ts";

type Waiting = { readonly until: number; readonly resolve: (failure: Failure) => void };

/** Reads request bodies within a size and a time. One timer watches all of them. */
export class BodyReader {
  readonly #max: () => number;
  readonly #deadline: number;
  readonly #waiting = new Set<Waiting>();
  #timer: ReturnType<typeof setInterval> | null = null;

  /** `max` in bytes, read anew for each request; `deadline` in ms from the headers to the last byte. */
  constructor(max: () => number, deadline = 30_000) {
    this.#max = max;
    this.#deadline = deadline;
  }

  /** The body as `decodeUtf8` makes text of it, or why it cannot be had: `body-too-large`, `body-timeout`. */
  read(req: Request, max = this.#max()): Promise<string | Failure> {
    const length = req.headers.get("content-length");
    if (length !== null && Number(length) > max) return Promise.resolve(tooLarge(max));
    return new Promise((resolve) => {
      const entry = { until: performance.now() + this.#deadline, resolve };
      this.#waiting.add(entry);
      this.#watch();
      const settle = (outcome: string | Failure): void => {
        this.#waiting.delete(entry);
        resolve(outcome);
      };
      const fail = (error: unknown): void => settle(asFailure(error));
      // Not as text: what is no UTF-8 would be replaced and no longer be seen.
      (length === null ? readCapped(req, max) : req.arrayBuffer()).then((body) => settle(decodeUtf8(body)), fail);
    });
  }

  #watch(): void {
    this.#timer ??= setInterval(() => {
      const now = performance.now();
      for (const { until, resolve } of this.#waiting) {
        // Insertion order is deadline order.
        if (until > now) break;
        resolve(new Failure("body-timeout", `The request body did not arrive within ${this.#deadline / 1000} s.`));
      }
      if (this.#waiting.size > 0 || !this.#timer) return;
      clearInterval(this.#timer);
      this.#timer = null;
    }, 1_000).unref();
  }
}

/** A body without Content-Length is counted as it arrives. */
async function readCapped(req: Request, max: number): Promise<Uint8Array> {
  if (!req.body) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of req.body) {
    size += chunk.byteLength;
    if (size > max) throw tooLarge(max);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function tooLarge(max: number): Failure {
  return new Failure("body-too-large", `The request body is larger than the ${max} bytes that limits.body allows.`);
}
