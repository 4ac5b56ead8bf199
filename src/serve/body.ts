import { asFailure, Failure } from "../core/failure.ts";
import { List } from "../core/linked-list.ts";
import { decodeUtf8 } from "../mcp/utf8.ts";

type Waiting = { readonly until: number; readonly resolve: (failure: Failure) => void };

/** The time from the headers to the last byte, ms. */
const deadline = 30_000;

/** Reads request bodies, limited in size and time. One timer watches all of them. */
export class BodyReader {
  readonly #max: () => number;
  readonly #waiting = new List<Waiting>();
  #timer: ReturnType<typeof setInterval> | null = null;

  /** `max` in bytes, asked anew for each request. */
  constructor(max: () => number) {
    this.#max = max;
  }

  /**
   * The body as text (see `decodeUtf8`), or the failure: `body-too-large`, `unknown-expectation`, `body-timeout`,
   * `cancelled`.
   */
  read(req: Request, max = this.#max()): Promise<string | Failure> {
    const length = req.headers.get("content-length");
    if (length !== null && Number(length) > max) return Promise.resolve(tooLarge(max));
    if (waitsForever(req.headers.get("expect"))) return Promise.resolve(unmet());
    return new Promise((resolve) => {
      const entry = { until: performance.now() + deadline, resolve };
      const place = this.#waiting.add(entry);
      this.#watch();
      const settle = (outcome: string | Failure): void => {
        this.#waiting.delete(place);
        resolve(outcome);
      };
      const fail = (error: unknown): void => settle(req.signal.aborted ? left() : asFailure(error));
      // Not `req.text()`: it replaces bytes that are not UTF-8, and nobody would notice.
      (length === null ? readCapped(req, max) : req.arrayBuffer()).then((body) => settle(decodeUtf8(body)), fail);
    });
  }

  #watch(): void {
    this.#timer ??= setInterval(() => {
      const now = performance.now();
      for (const { until, resolve } of this.#waiting.items) {
        // Oldest first.
        if (until > now) break;
        resolve(new Failure("body-timeout", `The request body did not arrive within ${deadline / 1000} s.`));
      }
      if (this.#waiting.size > 0 || !this.#timer) return;
      clearInterval(this.#timer);
      this.#timer = null;
    }, 1_000).unref();
  }
}

/** Reads a body without Content-Length and counts its bytes as they arrive. */
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

/**
 * Whether the body comes only after a "100 Continue" that Bun does not send: it knows that wish in small letters only,
 * but their size has no meaning (RFC 9110, 10.1.1).
 */
const waitsForever = (expect: string | null): boolean =>
  expect !== null && expect !== "100-continue" && expect.toLowerCase() === "100-continue";

const unmet = (): Failure =>
  new Failure("unknown-expectation", "Send the message without Expect, or with 100-continue in small letters.");

function tooLarge(max: number): Failure {
  return new Failure("body-too-large", `The request body is larger than the ${max} bytes that limits.body allows.`);
}

const left = (): Failure => new Failure("cancelled", "The client left before the whole of its message had arrived.");
