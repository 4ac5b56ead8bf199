import { endingWith } from "../core/cancel.ts";
import type { Principal } from "../core/principal.ts";
import type { Traffic } from "../session/traffic.ts";
import { limitUnread, maxUncheckedBytes, portion, type Sending } from "./queue-limits.ts";

export type AnswerBody = string | ReadableStream<Uint8Array>;

/** Returns the body of an answer. The unread bytes of a long one are counted. */
export function bodyOf(text: string, who: Principal, sending: Sending): AnswerBody {
  if (text.length <= maxUncheckedBytes) return text;
  const body = new UnreadBody(who, sending.traffic);
  body.write(new TextEncoder().encode(text));
  body.end();
  limitUnread(who.id, body.owed, sending);
  return body.stream;
}

/** Drops the unread bytes of a reader that has lost its key. */
const dropOnRevocation = endingWith<UnreadBody>((_, body) => body.forget());

/**
 * A response body that is passed to Bun only as its client reads it. Until then its bytes count as unread bytes of the
 * principal, and they are dropped if the key is lost.
 */
export class UnreadBody {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #onLeft: () => void;
  /** Called once nothing is left unread. */
  readonly #release: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  #unread: Uint8Array[] = [];
  /** How many bytes of the first of these have been passed to Bun. */
  #begun = 0;
  #owed = 0;
  #ended = false;

  /** `onLeft` is called if the client stops reading. */
  constructor({ id, revoked }: Principal, { unread }: Traffic, onLeft: () => void = () => {}) {
    this.#onLeft = onLeft;
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => void (this.#controller = controller),
        pull: () => this.#flow(),
        cancel: () => this.#left(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: portion }),
    );
    const unwatch = dropOnRevocation(revoked, this);
    const uncount = unread.add(id, { queued: () => this.#owed, drop: () => this.#drop() });
    this.#release = () => {
      unwatch();
      uncount();
    };
  }

  /** Bytes that the client has not read. */
  get owed(): number {
    return this.#owed;
  }

  write(bytes: Uint8Array): void {
    this.#unread.push(bytes);
    this.#owed += bytes.length;
    this.#flow();
  }

  /** Ends the body once all of it is read; nothing more may be written. */
  end(): void {
    this.#ended = true;
    this.#flow();
  }

  /** Drops the unread bytes. Later writes still arrive, unless a write was cut off in the middle. */
  forget(): void {
    if (this.#begun > 0) return this.#drop();
    this.#unread = [];
    this.#owed = 0;
    this.#flow();
  }

  #drop(): void {
    this.#controller?.error();
    this.#left();
  }

  #left(): void {
    this.#controller = null;
    this.#unread = [];
    this.#release();
    this.#onLeft();
  }

  #flow(): void {
    const controller = this.#controller;
    if (!controller) return;
    for (let [first] = this.#unread; first && (controller.desiredSize ?? 0) > 0; [first] = this.#unread) {
      const bytes = first.subarray(this.#begun, this.#begun + portion);
      this.#begun += bytes.length;
      if (this.#begun === first.length) {
        // The memory of a write is freed only as a whole.
        this.#owed -= first.length;
        this.#unread.shift();
        this.#begun = 0;
      }
      controller.enqueue(bytes);
    }
    if (!this.#ended || this.#owed > 0) return;
    this.#controller = null;
    this.#release();
    controller.close();
  }
}
