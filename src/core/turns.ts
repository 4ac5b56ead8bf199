/** How long one source may use the event loop before all others get their turn, ms. */
const share = 2;
/** A source that has used less than this is not watched: it costs the loop nothing, ms. */
const light = 0.25;
/** Bytes that are handled at once: few enough that even the shortest messages in them take about a share. */
const portion = 8 * 1024;

/**
 * Those that have had their share. Each turn of the loop gives one of them another, so that all floods together get no
 * more.
 */
const waiting: (() => void)[] = [];

function giveTurn(): void {
  waiting.shift()?.();
  if (waiting.length > 0) setImmediate(giveTurn);
}

/**
 * The share of the event loop that one source of messages has, such as a connection, a child's output or a stream. A
 * source that stays below it never waits.
 */
export class Turn {
  readonly #now: () => number;
  /** Such that the source has used the loop for `now - since` ms. */
  #since = 0;
  #begun = 0;
  /** What it used while it was not watched. */
  #used = 0;
  /** From here on all time counts, until the loop has turned: also what the messages set off. */
  #watched = false;
  /** All that the pieces of work took, ms. */
  total = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  begin(): void {
    this.#begun = this.#now();
    if (!this.#watched) this.#since = this.#begun - this.#used;
  }

  /** A piece of work is done. True if the share is used up: then `next` must have resolved before more is done. */
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

  /** Whether the share is used up, and the loop has not turned since. */
  get spent(): boolean {
    return this.#watched && this.#now() - this.#since >= share;
  }

  /** Resolves when all others have had their turn. */
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
   * Takes a chunk of a stream in pieces; resolves when the next chunk may be read. Until then nothing is read, which
   * holds up whoever writes.
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

/** The bytes of a chunk in pieces, between which others can get their turn. */
export function* piecesOf(chunk: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < chunk.length; at += portion) yield chunk.subarray(at, at + portion);
}

/** Does work that consists of steps, and gives others their turn between them. */
export async function inTurns<T>(steps: Generator<unknown, T>, turn = new Turn()): Promise<T> {
  for (;;) {
    turn.begin();
    const { done, value } = steps.next();
    const over = turn.over();
    if (done) return value;
    if (over) await turn.next();
  }
}

/** Begins a piece of work with each of many, and gives others their turn between; resolves once all of it has ended. */
export async function eachInTurns<T, R>(all: readonly T[], begin: (one: T) => Promise<R>): Promise<R[]> {
  const turn = new Turn();
  const begun: Promise<R>[] = [];
  for (const one of all) {
    turn.begin();
    const work = begin(one);
    // Until all have begun nobody waits for it.
    work.catch(() => {});
    begun.push(work);
    if (turn.over()) await turn.next();
  }
  return Promise.all(begun);
}

/** Does all of such work at once, where there is nobody else yet. */
export function atOnce<T>(steps: Generator<unknown, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** A source whose messages come by themselves. */
type MessageSource<T> = {
  take(message: T): void;
  /** Nothing more is to be read, which holds up whoever writes. What was read already may still come. */
  pause(): void;
  resume(): void;
};

/**
 * Takes the messages of a source as they come. Once it has had its share, they wait in their order, and the source is
 * paused until all that came is taken.
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

  /** Nothing comes any more; calls `then` after the last message was taken. */
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
      // What the message sets off counts too.
      await Promise.resolve();
      if (this.#turn.over()) await this.#turn.next();
    }
    this.#waiting = null;
    if (this.#ended) this.#ended();
    else this.#source.resume();
  }
}
