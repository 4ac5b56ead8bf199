import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { createStderrLog } from "../../../src/upstream/process/stderr-log.ts";

const none: readonly string[] = [];

function log(own: string[] = [], secrets: () => readonly string[] = () => none) {
  let mono = 0;
  const it = createStderrLog(own, secrets, { now: () => 0, mono: () => mono });
  const writer = it.writer(7);
  const text = (lines = 100): string[] => it.last(lines).map((line) => line.replace("1970-01-01T00:00:00.000Z 7 ", ""));
  return {
    it,
    write: (chunk: string | Uint8Array) => writer.write(Buffer.from(chunk)),
    end: () => writer.end(),
    text,
    pass: (ms: number) => (mono += ms * 1000),
  };
}

test("lines carry time and pid; the newest ones are given, oldest first", () => {
  const { write, it } = log();
  write("one\ntwo\nthr");
  write("ee\r\nfour");
  expect(it.last(2)).toEqual(["1970-01-01T00:00:00.000Z 7 two", "1970-01-01T00:00:00.000Z 7 three"]);
});

test("a character cut by a chunk's end stays whole, what is no UTF-8 is replaced", () => {
  const { write, text } = log();
  const bytes = Buffer.from("ü\n");
  write(bytes.subarray(0, 1));
  write(bytes.subarray(1));
  write(Buffer.from([0xff, 0x0a]));
  expect(text()).toEqual(["ü", "�"]);
});

test("T15: escapes are made visible, a line of 10 MB is cut", () => {
  const { write, text } = log();
  write("\x1b[2Jx\u202ey\n");
  for (let i = 0; i < 3; i++) write("z".repeat(80_000));
  write("\n");
  const [first, second] = text();
  expect(first).toBe("\\u{1b}[2Jx\\u{202e}y");
  expect(second).toBe(`${"z".repeat(8192)}… (cut)`);
});

test("a line that was cut keeps no more of what was written in memory", () => {
  const heap = (): number => (Bun.gc(true), heapStats().heapSize);
  const { write, text, pass } = log();
  const before = heap();
  for (let at = 0; at < 100; at++) {
    write(`${"z".repeat(2 ** 16)}${at}\n`);
    pass(2_000);
  }
  expect(heap() - before).toBeLessThan(3 * 2 ** 20);
  expect(text().length).toBe(100);
});

test("R17: values of the environment are hidden, also those of several lines; short words are not", () => {
  const { write, text } = log(["hunter22", "-----KEY\nabcdef123\n", "on"]);
  write("token=hunter22 on\nabcdef123\n");
  expect(text()).toEqual(["token=[redacted] on", "[redacted]"]);
});

test("R17: a secret is hidden however a server that logs in JSON spells it", () => {
  const { write, text } = log(['pässwort"22']);
  write('{"a":"pässwort\\"22"}\n{"a":"p\\u00e4sswort\\u002222"}\n{"a":"p\\u00e4sswort\\"22"}\n');
  expect(text()).toEqual(Array(3).fill('{"a":"[redacted]"}'));
});

test("R17: secrets of the whole configuration are hidden, as they are when a line is written", () => {
  let secrets = ["first-of-all"];
  const { write, text } = log(["hunter22"], () => secrets);
  write("hunter22 first-of-all another-one\n");
  secrets = ["another-one"];
  write("hunter22 another-one\n");
  expect(text()).toEqual(["[redacted] [redacted] another-one", "[redacted] [redacted]"]);
});

test("R17: a secret that a cut line ends in is not shown in part", () => {
  const secret = "s".repeat(3_000);
  const { write, text } = log([secret]);
  write(`${`${secret} `.repeat(5)}\n`);
  // Of a line without it no less is shown for its sake.
  write(`${"y".repeat(20_000)}\n`);
  expect(text()[0]).not.toContain("ss");
  expect(text()[1]).toBe(`${"y".repeat(8_192)}… (cut)`);
});

test("T15: what comes faster than the log takes it is dropped and counted, except for the newest lines", () => {
  const { write, text, pass } = log();
  const line = (n: number): string => `${String(n).padStart(999, "x")}\n`;
  for (let i = 0; i < 1_000; i++) write(line(i));
  const kept = text(10_000).length;
  expect(kept).toBeLessThan(300);
  pass(1_001);
  write("later\n");
  expect(text(6)).toEqual([
    `(${(996 - kept) * 1_000} bytes were written faster than the log takes them, and dropped)`,
    ...[996, 997, 998, 999].map((n) => line(n).trim()),
    "later",
  ]);
});

test("the last words of a process that ends in a flood are shown, and what was dropped before them is counted", () => {
  const { write, end, text } = log();
  for (let i = 0; i < 1_000; i++) write(`${"x".repeat(999)}\n`);
  const kept = text(10_000).length;
  write("fatal: the token is missing");
  end();
  const [note, ...last] = text(6);
  expect(note).toBe(`(${(996 - kept) * 1_000} bytes were written faster than the log takes them, and dropped)`);
  expect(last.at(-1)).toBe("fatal: the token is missing");
});

test("a little more than the log takes is held back until there is room, or until the process ends", () => {
  const { write, end, text } = log();
  write(`${"x".repeat(300_000)}\nfat`);
  write("al: it is");
  write(" over\nbye");
  expect(text()).toEqual([`${"x".repeat(8192)}… (cut)`]);
  end();
  expect(text().slice(1)).toEqual(["fatal: it is over", "bye"]);
  end();
  expect(text()).toHaveLength(3);
});

test("R17: a last line without an end is hidden as far as it may be the beginning of a secret", () => {
  const { write, end, text } = log(["hunter22", "secret-of-mine"]);
  write("it is hunter22 and secret-of");
  end();
  expect(text()).toEqual(["it is [redacted] and … (cut)"]);
});

test("who follows gets the newest lines, those that come, and how many left the log before it asked; a close ends it", async () => {
  const { it, write, pass } = log();
  write("one\ntwo\nthree\n");
  const reader = it.follow(2, new AbortController().signal);
  const next = async () => {
    const { value } = await reader.next();
    return typeof value === "string" ? value.split(" ").at(-1) : value;
  };
  expect([await next(), await next()]).toEqual(["two", "three"]);
  const waiting = next();
  write("four\n");
  expect(await waiting).toBe("four");
  for (let second = 0; second < 8; second++) {
    write(`${"x".repeat(2_000)}\n`.repeat(100));
    pass(1_000);
  }
  const gap = 800 - it.last(800).length;
  expect(gap).toBeGreaterThan(0);
  expect(await next()).toEqual({ gap });
  for (let left = 800 - gap; left > 0; left--) expect(await next()).toBe("x".repeat(2_000));
  const end = reader.next();
  it.close(null);
  expect((await end).done).toBe(true);
});

test("what is written after a close goes to the log that came after, and on to the one after that", () => {
  const [old, next, last] = [log(), log(), log()];
  old.write("before\n");
  old.it.close(next.it);
  old.write("while it drains\n");
  next.it.close(last.it);
  old.write("its last word\n");
  const words = ({ it }: typeof old) => it.last(9).map((line) => line.split(" ").slice(2).join(" "));
  expect([words(old), words(next), words(last)]).toEqual([["before"], ["while it drains"], ["its last word"]]);
});

test("who follows is let go when it leaves, though nothing is written", async () => {
  const leaving = new AbortController();
  const next = log().it.follow(1, leaving.signal).next();
  leaving.abort();
  expect((await next).done).toBe(true);
});
