import { encodeEvent } from "../mcp/sse.ts";

/** Receives the events of a stream while its client is connected. An event without `must` may be dropped. */
export type Reader = { write(event: string, must: boolean): void; close(): void };

type Kept = { readonly n: number; readonly event: string; readonly must: boolean };

const maxStreamEvents = 256;
/** Maximum number of characters kept of one stream. */
const maxStreamLength = 1024 ** 2;
/** The memory that an event takes in addition to its text, in characters. */
const overhead = 512;
/** Maximum number of ended streams kept of one session: those that were read to the end, and those that were not. */
const maxEndedStreams = { read: 16, missed: 256 };
/** Maximum number of characters kept of all streams of the process. */
const maxBacklogLength = 64 * 1024 ** 2;
/** How long a stream is kept after its end. */
const ageUs = 5 * 60_000_000;

/** The streams that clients may come back to; their number, age and size are limited across all sessions. */
export class Backlog {
  /** Streams that were read to the end, and all others, of which a client may have missed events; oldest first. */
  readonly #read = new Set<StreamLog>();
  readonly #missed = new Set<StreamLog>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Counts what a log grew by. If all logs together are too large, frees the oldest, those that were read first. */
  grew(log: StreamLog, by: number): void {
    this.#missed.add(log);
    this.#size += by;
    for (const logs of [this.#read, this.#missed]) {
      for (const oldest of logs) {
        if (this.#size <= maxBacklogLength) return;
        oldest.freeMemory();
      }
    }
  }

  wasRead(log: StreamLog): void {
    if (this.#missed.delete(log)) this.#read.add(log);
  }

  remove(log: StreamLog, size: number): void {
    this.#read.delete(log);
    this.#missed.delete(log);
    this.#size -= size;
  }

  sweep(now: number): void {
    for (const logs of [this.#read, this.#missed]) for (const log of logs) if (log.isOver(now)) log.forget();
  }
}

/** The numbered events of one stream. The newest are kept for a client that reconnects with `Last-Event-ID`. */
export class StreamLog {
  readonly id: number;
  readonly #backlog: Backlog;
  readonly #drop: (() => void) | null;
  #kept: Kept[] = [];
  #size = 0;
  #last = 0;
  /** The newest event that is no longer kept, and the newest whose loss has been counted. */
  #dropped = 0;
  #counted = 0;
  #reader: Reader | null = null;
  #forgotten = false;
  /** Whether a client has read it to the end. */
  read = false;
  /** Monotonic µs of its last event; null while more may follow. */
  endedAt: number | null = null;

  /** `drop` unregisters a forgotten log. Stream 0 has no `drop` and keeps recording. */
  constructor(id: number, backlog: Backlog, drop: (() => void) | null = null) {
    this.id = id;
    this.#backlog = backlog;
    this.#drop = drop;
  }

  get reader(): Reader | null {
    return this.#reader;
  }

  /** Adds a message. `must` means that the client waits for it; others may be dropped if the reader is too slow. */
  write(message: string, must: boolean): void {
    const event = encodeEvent(message, `${this.id}-${++this.#last}`);
    if (!this.#forgotten) this.#keep({ n: this.#last, event, must });
    this.#reader?.write(event, must);
  }

  /**
   * Sends an event id before the first event, so that the client can reconnect (2025-11-25, transports). Sends no
   * `retry`, since the Java SDK before 2.1.0, and so Spring AI 2.0, gives up the stream because of it.
   */
  prime(): void {
    this.#reader?.write(`id: ${this.id}-${this.#last}\ndata: \n\n`, true);
  }

  /** Writes the last event and closes the reader. */
  end(message: string | null, now: number): void {
    this.endedAt = now;
    if (message !== null) this.write(message, true);
    this.#finish();
  }

  /**
   * Sends the reader the kept events after number `after`, then all further events; closes the previous reader. Returns
   * how many events after that number are no longer kept, excluding those that an earlier call has counted.
   */
  readBy(reader: Reader, after = this.#last): number {
    const before = this.#reader;
    this.#reader = reader;
    before?.close();
    // Stream 0 counts as ended only while nobody reads it.
    if (!this.#drop) this.endedAt = null;
    const kept = this.#kept.filter(({ n }) => n > after);
    for (const { event } of kept) reader.write(event, true);
    if (this.endedAt !== null) this.#finish();
    const from = Math.max(after, this.#counted);
    const lost = Math.max(0, this.#last - from - kept.filter(({ n }) => n > from).length);
    if (lost > 0) this.#counted = this.#dropped;
    return lost;
  }

  /** Removes a reader that has gone, unless replaced. With `now`, the stream counts as ended until the next reader. */
  leave(reader: Reader, now: number | null = null): void {
    if (this.#reader !== reader) return;
    this.#reader = null;
    this.endedAt ??= now;
  }

  /** Whether it has ended with the event of this number or an earlier one. */
  endedBy(n: number): boolean {
    return this.endedAt !== null && this.#last <= n;
  }

  /** Whether it ended so long ago that its client will not come back. */
  isOver(now: number): boolean {
    return this.endedAt !== null && this.endedAt < now - ageUs;
  }

  /** Forgets the kept events; the current reader continues. */
  forget(): void {
    this.#clear();
    this.#forgotten = this.#drop !== null;
    this.#drop?.();
  }

  /** Frees memory. A running stream still keeps future events, above all its answer. */
  freeMemory(): void {
    if (this.endedAt === null) this.#clear();
    else this.forget();
  }

  #clear(): void {
    this.#backlog.remove(this, this.#size);
    this.#dropped = this.#last;
    this.#kept = [];
    this.#size = 0;
  }

  /** Closes the reader, which has received everything: one that was too slow has already gone. */
  #finish(): void {
    const reader = this.#reader;
    if (!reader) return;
    this.#reader = null;
    this.read = true;
    this.#backlog.wasRead(this);
    reader.close();
  }

  #keep(one: Kept): void {
    this.#kept.push(one);
    let grown = weightOf(one);
    this.#size += grown;
    while (this.#kept.length > 1 && (this.#kept.length > maxStreamEvents || this.#size > maxStreamLength)) {
      const first = this.#kept.findIndex(({ must }) => !must);
      const [dropped] = this.#kept.splice(Math.max(0, first), 1);
      const freed = dropped ? weightOf(dropped) : 0;
      this.#dropped = Math.max(this.#dropped, dropped?.n ?? 0);
      this.#size -= freed;
      grown -= freed;
    }
    this.#backlog.grew(this, grown);
  }
}

const weightOf = ({ event }: Kept): number => event.length + overhead;

const eventId = /^(\d{1,9})-(\d{1,9})$/;

/** The event streams of one session; ids are unique within it. Stream 0 is for messages outside calls. */
export class Streams {
  readonly #backlog: Backlog;
  readonly #logs = new Map<number, StreamLog>();
  #last = 0;
  #outside: StreamLog | null = null;

  constructor(backlog: Backlog) {
    this.#backlog = backlog;
  }

  get outside(): StreamLog {
    return (this.#outside ??= new StreamLog(0, this.#backlog));
  }

  get listener(): Reader | null {
    return this.#outside?.reader ?? null;
  }

  /** Opens the stream of a POST; forgets the oldest ended streams if there are too many. */
  open(): StreamLog {
    const id = ++this.#last;
    const log = new StreamLog(id, this.#backlog, () => void this.#logs.delete(id));
    this.#logs.set(id, log);
    if (this.#logs.size > maxEndedStreams.read) this.#forgetEnded();
    return log;
  }

  /** Returns the stream of an event id and the number of the event in it, or null if the stream is not kept. */
  find(id: string): { readonly log: StreamLog; readonly after: number } | null {
    const match = eventId.exec(id);
    if (!match) return null;
    const stream = Number(match[1]);
    const log = stream === 0 ? this.outside : this.#logs.get(stream);
    return log ? { log, after: Number(match[2]) } : null;
  }

  forget(): void {
    this.#outside?.forget();
    for (const log of this.#logs.values()) log.forget();
  }

  /** Streams of running calls stay; the limit on calls in flight bounds them too. */
  #forgetEnded(): void {
    const ended = [...this.#logs.values()].filter(({ endedAt }) => endedAt !== null);
    const read = ended.filter((log) => log.read).slice(0, -maxEndedStreams.read);
    const missed = ended.filter((log) => !log.read).slice(0, -maxEndedStreams.missed);
    for (const log of [...read, ...missed]) log.forget();
  }
}
