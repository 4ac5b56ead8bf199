import { lookEvery } from "../core/clock.ts";
import { asFailure, Failure } from "../core/failure.ts";
import { List } from "../core/linked-list.ts";
import { type Full, Room } from "../core/room.ts";
import { decodeUtf8 } from "../mcp/utf8.ts";

type Waiting = { readonly until: number; readonly settle: (failure: Failure) => void };

/** Maximum time from the headers to the last byte of a body, ms. */
const deadline = 30_000;

/** Maximum bytes of bodies that are being received at once, per sender and in total. */
const bounds = { ofOne: 128 * 1024 ** 2, ofAll: 512 * 1024 ** 2 };
/** Bytes that each body counts in addition to its length, so that one sender cannot take all connections. */
const perBodyBytes = 128 * 1024;
/** Minimum bytes that each chunk of a body counts as, since it takes that much memory. */
const minChunkBytes = 256;
/** Maximum bytes read of an unauthenticated body. All such bodies share one sender id, which no principal has. */
const maxUnauthenticatedBytes = 64 * 1024;
const nobody = "";
/** Chunks that any body may have. Each costs a microsecond, so a longer body may have more only if they are larger. */
const baseMaxChunks = 65_536;

/** Reads request bodies, with limits on size, total bytes and time. One timer watches all of them. */
export class BodyReader {
  readonly #max: () => number;
  readonly #waiting = new List<Waiting>();
  /** Bytes being received, by sender: the declared length of a body, or the bytes received so far. */
  readonly #arriving = new Room(bounds);
  /** Number of unauthenticated bodies that are being read. */
  #strange = 0;
  #timer: Timer | undefined;

  /** `max` returns the maximum body size in bytes; it is called for each request. */
  constructor(max: () => number) {
    this.#max = max;
  }

  /**
   * Resolves to the body as text (see `decodeUtf8`) or to the failure: `body-too-large`, `unknown-expectation`,
   * `overloaded`, `body-timeout`, `cancelled`. `sender` is a principal's id.
   */
  read(req: Request, sender: string, max = this.#max()): Promise<string | Failure> {
    const length = declaredLength(req.headers);
    if (length !== null && length > max) return Promise.resolve(tooLarge(max));
    if (awaitsContinue(req.headers.get("expect"))) return Promise.resolve(unmet());
    const announced = perBodyBytes + (length ?? 0);
    const crowded = this.#whyNoRoom(sender, announced);
    if (crowded) return Promise.resolve(crowded);
    return new Promise((resolve) => {
      let held = 0;
      const hold = (bytes: number): void => {
        held += bytes;
        this.#arriving.add(sender, bytes);
      };
      const settle = (outcome: string | Failure): void => {
        this.#waiting.delete(node);
        hold(-held);
        resolve(outcome);
      };
      const node = this.#waiting.add({ until: performance.now() + deadline, settle });
      this.#watch();
      hold(announced);
      const came = (bytes: number): void => {
        const why = this.#whyNoRoom(sender, bytes);
        if (why) throw why;
        hold(bytes);
      };
      const fail = (error: unknown): void => settle(req.signal.aborted ? clientDisconnected() : asFailure(error));
      // `req.text()` would silently replace bytes that are not UTF-8.
      (length === null ? readCapped(req, max, came) : req.arrayBuffer()).then((body) => settle(decodeUtf8(body)), fail);
    });
  }

  /** Reads enough of a refused request's body to find its id; nothing while such reads hold a quarter of `places`. */
  async readUnauthenticated(req: Request, places: number): Promise<string | Failure> {
    if (this.#strange >= places / 4) return "";
    this.#strange++;
    try {
      return await this.read(req, nobody, maxUnauthenticatedBytes);
    } finally {
      this.#strange--;
    }
  }

  /** Returns why `bytes` more of this sender exceed a limit; null if they do not. */
  #whyNoRoom(sender: string, bytes: number): Failure | null {
    const full = this.#arriving.exceededBound(sender, bytes, perBodyBytes + this.#max());
    return full && tooMuch(full);
  }

  #watch(): void {
    this.#timer ??= lookEvery(1_000, () => {
      const now = performance.now();
      for (const { until, settle } of this.#waiting.items) {
        // The list is ordered oldest first.
        if (until > now) break;
        settle(new Failure("body-timeout", `The request body did not arrive within ${deadline / 1000} s.`));
      }
      if (this.#waiting.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    });
  }
}

/** Returns null also for a repeated Content-Length: Bun accepts two equal ones and passes them on as `5, 5`. */
function declaredLength(headers: Headers): number | null {
  const text = headers.get("content-length");
  return text !== null && /^\d+$/.test(text) ? Number(text) : null;
}

/** Reads a body of unknown length; calls `came` with the bytes of each chunk, which may throw. */
async function readCapped(req: Request, max: number, came: (bytes: number) => void): Promise<Uint8Array> {
  if (!req.body) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  const most = Math.max(baseMaxChunks, Math.ceil(max / minChunkBytes));
  let size = 0;
  for await (const chunk of req.body) {
    size += chunk.byteLength;
    if (size > max) throw tooLarge(max);
    came(Math.max(chunk.byteLength, minChunkBytes));
    if (chunks.push(chunk) > most) throw tooManyChunks(most);
  }
  return Buffer.concat(chunks);
}

/**
 * Whether the client waits for a "100 Continue" that Bun never sends: contrary to RFC 9110, 10.1.1, Bun recognizes the
 * expectation only in lower case.
 */
const awaitsContinue = (expect: string | null): boolean =>
  expect !== null && expect !== "100-continue" && expect.toLowerCase() === "100-continue";

const unmet = (): Failure =>
  new Failure("unknown-expectation", "Send the message without Expect, or with 100-continue in lower case.");

function tooLarge(max: number): Failure {
  return new Failure("body-too-large", `The request body is larger than the ${max} bytes that limits.body allows.`);
}

const tooManyChunks = (most: number): Failure =>
  new Failure("body-too-large", `The request body has more than ${most} chunks; send larger chunks.`);

function tooMuch({ of, most }: Full): Failure {
  const whose = of === "one" ? "Your request bodies" : "The request bodies of all callers";
  const bytes = `the limit of ${most} bytes (each counts its length plus ${perBodyBytes})`;
  return new Failure("overloaded", `${whose} in transit would exceed ${bytes}; try again later.`, {
    retryAfterMs: 1_000,
  });
}

/** The failure of a request whose client disconnected before the gateway had read it. */
export const clientDisconnected = (): Failure =>
  new Failure("cancelled", "The client disconnected before its whole message had arrived.");
