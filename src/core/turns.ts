/** How long one source may use the event loop before all others get their turn, ms. */
const share = 2;
/** A source that has used less than this is not watched, which costs the event loop nothing; ms. */
const light = 0.25;
/** Bytes that are handled at once: few enough that even the shortest messages in them take only about one share. */
const portion = 8 * 1024;

/**
 * The sources that have used up their share. Each loop turn grants one of them another, so that all floods together get
 * no more than that.
 */
const waiting: (() => void)[] = [];

function giveTurn(): void {
  waiting.shift()?.();
  if (waiting.length > 0) setImmediate(giveTurn);
}

/**
 * The share of the event loop of one source of messages, such as a connection, a child's output or a stream. A source
 * that stays below it never waits.
 */
export class Turn {
  readonly #now: () => number;
  /** A point in time such that the source has used the loop for `now - since` ms. */
  #since = 0;
  #begun = 0;
  /** The time used while it was not watched. */
  #used = 0;
  /** From here until the loop turns, all time counts, including work that the messages triggered. */
  #watched = false;
  /** The time that all pieces of work took, ms. */
  total = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  begin(): void {
    this.#begun = this.#now();
    if (!this.#watched) this.#since = this.#begun - this.#used;
  }

  /** Ends a piece of work. Returns true if the share is used up; then await `next` before doing more. */
  over(): boolean {
    const now = this.#now();
    const used = now - this.#since;
    this.total += now - this.#begun;
    if (!this.#watched) {
      this.#used = used;
      if (used >= light) this.#watch();
    }
    return used >= share;
  }

  /** Reports whether the share is used up and the loop has not turned since. */
  get spent(): boolean {
    return this.#watched && this.#now() - this.#since >= share;
  }

  /** Resolves once all others have had their turn. */
  next(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const go = (): void => {
      this.#renew();
      resolve();
    };
    if (waiting.push(go) === 1) setImmediate(giveTurn);
    return promise;
  }

  /**
   * Handles a chunk of a stream in pieces; resolves when the next chunk may be read. Until then nothing is read, which
   * exerts backpressure on the writer.
   */
  async feed(chunk: Uint8Array, take: (piece: Uint8Array) => void): Promise<void> {
    for (const piece of piecesOf(chunk)) {
      this.begin();
      take(piece);
      if (this.over()) await this.next();
    }
  }

  #watch(): void {
    this.#watched = true;
    setImmediate(() => this.#renew());
  }

  #renew(): void {
    this.#watched = false;
    this.#used = 0;
  }
}

/** Splits a chunk into pieces between which others can get their turn. */
export function* piecesOf(chunk: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < chunk.length; at += portion) yield chunk.subarray(at, at + portion);
}

/** Runs work that consists of steps, giving others their turn between them. */
export async function inTurns<T>(steps: Generator<unknown, T>, turn = new Turn()): Promise<T> {
  for (;;) {
    turn.begin();
    const { done, value } = steps.next();
    const over = turn.over();
    if (done) return value;
    if (over) await turn.next();
  }
}

/** Starts work on each item, giving others their turn in between; resolves once all of it has ended. */
export async function mapInTurns<T, R>(all: readonly T[], begin: (one: T) => Promise<R>): Promise<R[]> {
  const turn = new Turn();
  const begun: Promise<R>[] = [];
  for (const one of all) {
    turn.begin();
    const work = begin(one);
    // Nothing awaits it until all have begun.
    work.catch(() => {});
    begun.push(work);
    if (turn.over()) await turn.next();
  }
  return Promise.all(begun);
}

/** Runs such work without pauses, for when nothing else can be waiting yet. */
export function atOnce<T>(steps: Generator<unknown, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** A source that pushes its messages. */
type MessageSource<T> = {
  take(message: T): void;
  /** Stops reading, which exerts backpressure on the writer. What was already read may still arrive. */
  pause(): void;
  resume(): void;
};

/**
 * Handles the messages of a source as they arrive. Once it has used up its share, messages are queued in order and the
 * source is paused until the queue is empty.
 */
export class Intake<T> {
  readonly #source: MessageSource<T>;
  readonly #turn: Turn;
  #waiting: T[] | null = null;
  #ended: (() => void) | null = null;

  constructor(source: MessageSource<T>, turn = new Turn()) {
    this.#source = source;
    this.#turn = turn;
  }

  push(message: T): void {
    if (this.#waiting) return void this.#waiting.push(message);
    this.#turn.begin();
    this.#source.take(message);
    if (this.#turn.over()) void this.#drain((this.#waiting = []));
  }

  /** Marks the end of input; calls `then` after the last message was handled. */
  end(then: () => void): void {
    if (this.#waiting) this.#ended = then;
    else then();
  }

  async #drain(messages: readonly T[]): Promise<void> {
    this.#source.pause();
    await this.#turn.next();
    for (const message of messages) {
      this.#turn.begin();
      this.#source.take(message);
      // Work that the message triggers counts too.
      await Promise.resolve();
      if (this.#turn.over()) await this.#turn.next();
    }
    this.#waiting = null;
    if (this.#ended) this.#ended();
    else this.#source.resume();
  }
}
