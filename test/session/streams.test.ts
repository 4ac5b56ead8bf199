import { expect, test } from "bun:test";
import { Backlog, type Reader, type StreamLog, Streams } from "../../src/session/streams.ts";

const minute = 60_000_000;

function reader(): Reader & { readonly got: string[]; readonly needed: boolean[]; closed: boolean } {
  const got: string[] = [];
  const needed: boolean[] = [];
  return {
    got,
    needed,
    closed: false,
    write(event, must) {
      got.push(event);
      needed.push(must);
    },
    close() {
      this.closed = true;
    },
  };
}

const idsIn = (events: readonly string[]): (string | undefined)[] =>
  events.map((event) => /^id: (.*)$/m.exec(event)?.[1]);
const note = (log: StreamLog, times: number, size = 10): void => {
  for (let i = 0; i < times; i++) log.write("x".repeat(size), false);
};

test("event ids are unique within the session; a reader that comes back gets missed events, further events and the end", () => {
  const streams = new Streams(new Backlog());
  const [one, two] = [streams.open(), streams.open()];
  const [first, other] = [reader(), reader()];
  one.readBy(first);
  two.readBy(other);
  note(one, 2);
  note(two, 1);
  one.leave(first);
  note(one, 2);
  const ids = [...idsIn(first.got), ...idsIn(other.got)];
  expect(new Set(ids).size).toBe(3);
  const found = streams.find(ids[1] ?? "");
  expect(found?.log).toBe(one);
  const back = reader();
  found?.log.readBy(back, found.after);
  one.end("the answer", 0);
  expect(idsIn(back.got)).toEqual(["1-3", "1-4", "1-5"]);
  expect(back.got.at(-1)).toContain("data: the answer\n");
  // Otherwise a slow client would miss again what it has come back for.
  expect(back.needed).toEqual([true, true, true]);
  expect([back.closed, other.closed]).toEqual([true, false]);
  expect(other.got).toHaveLength(1);
});

test("a reader that comes back after the end gets the rest and is closed at once; a second reader replaces the first", () => {
  const streams = new Streams(new Backlog());
  const log = streams.open();
  const [first, second, late] = [reader(), reader(), reader()];
  log.readBy(first);
  log.readBy(second, 0);
  expect(first.closed).toBe(true);
  log.leave(first);
  note(log, 1);
  log.end("the answer", 0);
  expect(second.got).toHaveLength(2);
  expect(second.needed).toEqual([false, true]);
  log.readBy(late, 1);
  expect(idsIn(late.got)).toEqual(["1-2"]);
  expect(late.closed).toBe(true);
});

test("FIELD T43: priming sends an id, no message, and no field that the Java SDK before 2.1.0 treats as an error", () => {
  const log = new Streams(new Backlog()).open();
  const one = reader();
  log.readBy(one);
  log.prime();
  expect(one.got).toEqual(["id: 1-0\ndata: \n\n"]);
});

test("FIELD T43: a stream keeps its newest 256 events and 1 MiB; messages that the client waits for stay", () => {
  const backlog = new Backlog();
  const streams = new Streams(backlog);
  const many = streams.open();
  many.write("a question", true);
  note(many, 1_000);
  const one = reader();
  expect(many.readBy(one, 0)).toBe(1_001 - 256);
  expect(one.got).toHaveLength(256);
  expect([one.got[0]?.includes("a question"), idsIn(one.got).at(-1)]).toEqual([true, "1-1001"]);
  const large = streams.open();
  note(large, 10, 300_000);
  large.end("r".repeat(3_000_000), 0);
  const two = reader();
  large.readBy(two, 0);
  expect(two.got).toHaveLength(1);
  // Dropped events do not count.
  expect(backlog.size).toBeWithin(3_000_000, 3_500_000);
  // A reader that has had the last event misses nothing, whatever number it names.
  expect([many.readBy(reader(), 1_001), many.readBy(reader(), 9_999), many.readBy(reader())]).toEqual([0, 0, 0]);
  streams.forget();
  expect(backlog.size).toBe(0);
});

test("events that a client has missed for good are counted once, however often it comes back", () => {
  const log = new Streams(new Backlog()).open();
  note(log, 300);
  const lost = () => log.readBy(reader(), 10);
  expect([lost(), lost()]).toEqual([300 - 10 - 256, 0]);
  note(log, 258);
  // It has also missed the events kept until then, or it would name a later event.
  expect([lost(), lost()]).toEqual([258, 0]);
  log.freeMemory();
  expect([lost(), lost()]).toEqual([256, 0]);
});

/** Returns the ids of the streams in `logs` that are kept. */
const keptOf = (streams: Streams, logs: readonly StreamLog[]): number[] =>
  logs.flatMap(({ id }) => (streams.find(`${id}-1`) ? [id] : []));
const from = (first: number, last: number): number[] => Array.from({ length: last - first + 1 }, (_, at) => first + at);

test("FIELD T43: a session keeps the streams of all running calls, 16 ended streams that were read and 256 that were not", () => {
  const streams = new Streams(new Backlog());
  const logs = Array.from({ length: 300 }, () => streams.open());
  for (const log of logs) note(log, 1);
  expect(keptOf(streams, logs)).toEqual(from(1, 300));
  const running = logs.slice(0, 10);
  for (const log of logs.slice(10, 30)) {
    log.readBy(reader());
    log.end("read", 0);
  }
  for (const log of logs.slice(30)) log.end("missed", 0);
  streams.open();
  expect(keptOf(streams, logs)).toEqual([...from(1, 10), ...from(15, 30), ...from(45, 300)]);
  streams.find("45-1")?.log.readBy(reader());
  streams.open();
  expect(keptOf(streams, logs)).toEqual([...from(1, 10), ...from(16, 30), ...from(45, 300)]);
  for (const log of running) log.end("the answer", 0);
  expect(keptOf(streams, running)).toEqual(from(1, 10));
});

test("a stream whose reader is cut off while its end is written does not count as read", () => {
  const log = new Streams(new Backlog()).open();
  const slow = { write: () => log.leave(slow), close() {} };
  log.readBy(slow);
  log.end("the answer", 0);
  expect(log.read).toBe(false);
});

test("FIELD T43: all sessions together keep 64 MiB; the oldest streams are forgotten", () => {
  const backlog = new Backlog();
  const sessions = Array.from({ length: 100 }, () => new Streams(backlog));
  for (const streams of sessions) {
    const log = streams.open();
    note(log, 10, 100_000);
    log.end(null, 0);
  }
  expect(backlog.size).toBeLessThanOrEqual(64 * 1024 ** 2);
  expect(sessions[0]?.find("1-1")).toBeNull();
  expect(sessions.at(-1)?.find("1-1") ?? null).not.toBeNull();
  for (const streams of sessions) streams.forget();
  expect(backlog.size).toBe(0);
});

test("FIELD T43: streams that were read are dropped before others, and a running call keeps its future answer", () => {
  const streams = new Streams(new Backlog());
  const [running, missed, read] = [streams.open(), streams.open(), streams.open()];
  running.write("x".repeat(1_000), true);
  for (const log of [missed, read]) {
    if (log === read) log.readBy(reader());
    log.end("x".repeat(20_000_000), 0);
  }
  const more = (length: number): void => streams.open().end("x".repeat(length), 0);
  more(30_000_000);
  expect(keptOf(streams, [running, missed, read])).toEqual([1, 2]);
  more(40_000_000);
  expect(keptOf(streams, [running, missed])).toEqual([1]);
  running.end("the answer", 0);
  const back = reader();
  streams.find("1-0")?.log.readBy(back, 0);
  expect(back.got).toEqual([expect.stringContaining("data: the answer")]);
});

test("FIELD T43: a stream is forgotten five minutes after its end; a running one is not", () => {
  const backlog = new Backlog();
  const streams = new Streams(backlog);
  const [ended, running] = [streams.open(), streams.open()];
  note(ended, 1);
  note(running, 1);
  ended.end("done", 0);
  backlog.sweep(5 * minute - 1);
  expect(streams.find("1-1")).not.toBeNull();
  backlog.sweep(5 * minute + 1);
  expect([streams.find("1-1"), streams.find("2-1")?.log]).toEqual([null, running]);
  // Nothing that a call sends after its session has ended is kept.
  streams.forget();
  note(running, 1);
  expect(backlog.size).toBe(0);
});

test.each(["", "1", "1-", "-1", "a-1", "1-1-1", "99-1", "1-1 ", "1e3-1", "0x1-1", "9999999999-1"])(
  "the event id %p matches no stream",
  (id) => {
    const streams = new Streams(new Backlog());
    streams.open();
    expect(streams.find(id)).toBeNull();
  },
);

test("the stream outside calls continues its numbering after it was forgotten", () => {
  const backlog = new Backlog();
  const streams = new Streams(backlog);
  note(streams.outside, 3);
  streams.forget();
  note(streams.outside, 1);
  const one = reader();
  streams.outside.readBy(one, 0);
  expect(idsIn(one.got)).toEqual(["0-4"]);
});
