import { endingWith } from "../core/cancel.ts";
import type { Principal } from "../core/principal.ts";
import type { Traffic } from "../session/traffic.ts";
import { boundUnread, mostUnasked, portion, type Sending } from "./queue-limits.ts";

export type AnswerBody = string | ReadableStream<Uint8Array>;

/** The body of an answer: of a long one, what is unread is counted. */
export function bodyOf(text: string, who: Principal, sending: Sending): AnswerBody {
  if (text.length <= mostUnasked) return text;
  const body = new UnreadBody(who, sending.traffic);
  body.write(new TextEncoder().encode(text));
  body.end();
  boundUnread(who.id, body.owed, sending);
  return body.stream;
}

/** The body of a reader that has lost its key forgets what that has not read yet. */
const forgetOnLoss = endingWith<UnreadBody>((_, body) => body.forget());

/**
 * A body that is handed to Bun as its client reads it: until then it counts towards what that principal's clients have
 * not read, and it is cut off with the key.
 */
export class UnreadBody {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #onLeft: () => void;
  /** Called once nothing is unread any more. */
  readonly #release: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  #unread: Uint8Array[] = [];
  /** How much of the first of these has been handed on. */
  #begun = 0;
  #owed = 0;
  #ended = false;

  /** `onLeft` is called if nobody reads on. */
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
    const unwatch = forgetOnLoss(revoked, this);
    const uncount = unread.add(id, { queued: () => this.#owed, drop: () => this.#drop() });
    this.#release = () => {
      unwatch();
      uncount();
    };
  }

  /** Bytes that its client has not taken. */
  get owed(): number {
    return this.#owed;
  }

  write(bytes: Uint8Array): void {
    this.#unread.push(bytes);
    this.#owed += bytes.length;
    this.#flow();
  }

  /** Nothing more is written; it ends once all of it is read. */
  end(): void {
    this.#ended = true;
    this.#flow();
  }

  /** Leaves out what is unread. What is written from now on still arrives, unless a part broke off. */
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
        // Until then all of it takes its room.
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
