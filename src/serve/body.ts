import { lookEvery } from "../core/clock.ts";
import { asFailure, Failure } from "../core/failure.ts";
import { List } from "../core/linked-list.ts";
import { type Full, Room } from "../core/room.ts";
import { decodeUtf8 } from "../mcp/utf8.ts";

type Waiting = { readonly until: number; readonly settle: (failure: Failure) => void };

/** The time from the headers to the last byte, ms. */
const deadline = 30_000;

/** Bytes of bodies that may be on their way at once. */
const bounds = { ofOne: 128 * 1024 ** 2, ofAll: 512 * 1024 ** 2 };
/** What a body counts as besides, for its connection takes a place: one sender cannot have all of these. */
const ofEach = 128 * 1024;
/** Bytes that each chunk of a body counts as at least, since it takes so much memory. */
const ofChunk = 256;
/** Most bytes that are read of a stranger's body. All of these have one sender, whose id no principal has. */
const ofStranger = 64 * 1024;
const nobody = "";
/**
 * Chunks that any body may have. Each takes others a microsecond, so a long body may have more only if they are larger.
 */
const fewChunks = 65_536;

/** Reads request bodies, limited in size, number of bytes and time. One timer watches all of them. */
export class BodyReader {
  readonly #max: () => number;
  readonly #waiting = new List<Waiting>();
  /** Bytes that are on their way, by sender: all that a body has announced, or what has come of it. */
  readonly #arriving = new Room(bounds);
  /** The bodies of strangers that are being read. */
  #strange = 0;
  #timer: Timer | undefined;

  /** `max` in bytes, asked anew for each request. */
  constructor(max: () => number) {
    this.#max = max;
  }

  /**
   * The body as text (see `decodeUtf8`), or the failure: `body-too-large`, `unknown-expectation`, `overloaded`,
   * `body-timeout`, `cancelled`. `sender` is a principal's id.
   */
  read(req: Request, sender: string, max = this.#max()): Promise<string | Failure> {
    const length = declaredLength(req.headers);
    if (length !== null && length > max) return Promise.resolve(tooLarge(max));
    if (waitsForever(req.headers.get("expect"))) return Promise.resolve(unmet());
    const announced = ofEach + (length ?? 0);
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
      const fail = (error: unknown): void => settle(req.signal.aborted ? clientLeft() : asFailure(error));
      // Not `req.text()`: it replaces bytes that are not UTF-8, and nobody would notice.
      (length === null ? readCapped(req, max, came) : req.arrayBuffer()).then((body) => settle(decodeUtf8(body)), fail);
    });
  }

  /**
   * Enough of the body of who is refused anyway to find the id of its request; nothing once such bodies hold a quarter
   * of all `places`.
   */
  async readStrange(req: Request, places: number): Promise<string | Failure> {
    if (this.#strange >= places / 4) return "";
    this.#strange++;
    try {
      return await this.read(req, nobody, ofStranger);
    } finally {
      this.#strange--;
    }
  }

  /** Null where so many bytes more find room. */
  #whyNoRoom(sender: string, bytes: number): Failure | null {
    const full = this.#arriving.whyFull(sender, bytes, ofEach + this.#max());
    return full && tooMuch(full);
  }

  #watch(): void {
    this.#timer ??= lookEvery(1_000, () => {
      const now = performance.now();
      for (const { until, settle } of this.#waiting.items) {
        // Oldest first.
        if (until > now) break;
        settle(new Failure("body-timeout", `The request body did not arrive within ${deadline / 1000} s.`));
      }
      if (this.#waiting.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    });
  }
}

/** Null also where it is declared twice: Bun takes that if both are the same, and passes them on as `5, 5`. */
function declaredLength(headers: Headers): number | null {
  const text = headers.get("content-length");
  return text !== null && /^\d+$/.test(text) ? Number(text) : null;
}

/** Reads a body whose length is not known; `came` is told of its bytes as they arrive, and may throw. */
async function readCapped(req: Request, max: number, came: (bytes: number) => void): Promise<Uint8Array> {
  if (!req.body) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  const most = Math.max(fewChunks, Math.ceil(max / ofChunk));
  let size = 0;
  for await (const chunk of req.body) {
    size += chunk.byteLength;
    if (size > max) throw tooLarge(max);
    came(Math.max(chunk.byteLength, ofChunk));
    if (chunks.push(chunk) > most) throw tooManyChunks(most);
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

const tooManyChunks = (most: number): Failure =>
  new Failure("body-too-large", `The request body comes in more than ${most} chunks; send larger ones.`);

function tooMuch({ of, most }: Full): Failure {
  const whose = of === "one" ? "Your requests" : "The requests of all callers";
  const bytes = `no more than ${most} bytes, where each counts ${ofEach} besides its length`;
  return new Failure("overloaded", `${whose} on the way here may have ${bytes}; try again later.`, {
    retryAfterMs: 1_000,
  });
}

/** The failure of a request whose client has not waited for the gateway to read it. */
export const clientLeft = (): Failure =>
  new Failure("cancelled", "The client left before the whole of its message had arrived.");
