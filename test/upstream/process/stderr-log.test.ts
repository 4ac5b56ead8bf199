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

test("lines have a time and a pid; the newest ones are returned, oldest first", () => {
  const { write, it } = log();
  write("one\ntwo\nthr");
  write("ee\r\nfour");
  expect(it.last(2)).toEqual(["1970-01-01T00:00:00.000Z 7 two", "1970-01-01T00:00:00.000Z 7 three"]);
});

test("a character split between chunks stays whole, and invalid UTF-8 is replaced", () => {
  const { write, text } = log();
  const bytes = Buffer.from("ü\n");
  write(bytes.subarray(0, 1));
  write(bytes.subarray(1));
  write(Buffer.from([0xff, 0x0a]));
  expect(text()).toEqual(["ü", "�"]);
});

test("T15: escapes are made visible, and a very long line is truncated", () => {
  const { write, text } = log();
  write("\x1b[2Jx\u202ey\n");
  for (let i = 0; i < 3; i++) write("z".repeat(80_000));
  write("\n");
  const [first, second] = text();
  expect(first).toBe("\\u{1b}[2Jx\\u{202e}y");
  expect(second).toBe(`${"z".repeat(8192)}… (cut)`);
});

test("a truncated line does not keep the rest of the written data in memory", () => {
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

test("R17: values of the environment are hidden, even multi-line ones; short words are not", () => {
  const { write, text } = log(["hunter22", "-----KEY\nabcdef123\n", "on"]);
  write("token=hunter22 on\nabcdef123\n");
  expect(text()).toEqual(["token=[redacted] on", "[redacted]"]);
});

test("R17: a secret is hidden in every JSON spelling", () => {
  const { write, text } = log(['pässwort"22']);
  write('{"a":"pässwort\\"22"}\n{"a":"p\\u00e4sswort\\u002222"}\n{"a":"p\\u00e4sswort\\"22"}\n');
  expect(text()).toEqual(Array(3).fill('{"a":"[redacted]"}'));
});

test("R17: the secrets of the whole configuration at the time of writing are hidden", () => {
  let secrets = ["first-of-all"];
  const { write, text } = log(["hunter22"], () => secrets);
  write("hunter22 first-of-all another-one\n");
  secrets = ["another-one"];
  write("hunter22 another-one\n");
  expect(text()).toEqual(["[redacted] [redacted] another-one", "[redacted] [redacted]"]);
});

test("R17: a secret at the end of a truncated line is not shown in part", () => {
  const secret = "s".repeat(3_000);
  const { write, text } = log([secret]);
  write(`${`${secret} `.repeat(5)}\n`);
  // A line without the secret is not shortened further.
  write(`${"y".repeat(20_000)}\n`);
  expect(text()[0]).not.toContain("ss");
  expect(text()[1]).toBe(`${"y".repeat(8_192)}… (cut)`);
});

test("T15: output beyond the rate of the log is dropped and counted, except for the newest lines", () => {
  const { write, text, pass } = log();
  const line = (n: number): string => `${String(n).padStart(999, "x")}\n`;
  for (let i = 0; i < 1_000; i++) write(line(i));
  const kept = text(10_000).length;
  expect(kept).toBeLessThan(300);
  pass(1_001);
  write("later\n");
  expect(text(6)).toEqual([
    `(${(996 - kept) * 1_000} bytes were written faster than the log accepts them and were dropped)`,
    ...[996, 997, 998, 999].map((n) => line(n).trim()),
    "later",
  ]);
});

test("the last output of a process that ends in a flood is shown, and the dropped output before it is counted", () => {
  const { write, end, text } = log();
  for (let i = 0; i < 1_000; i++) write(`${"x".repeat(999)}\n`);
  const kept = text(10_000).length;
  write("fatal: the token is missing");
  end();
  const [note, ...last] = text(6);
  expect(note).toBe(`(${(996 - kept) * 1_000} bytes were written faster than the log accepts them and were dropped)`);
  expect(last.at(-1)).toBe("fatal: the token is missing");
});

test("output slightly beyond the rate of the log is held back until there is room or the process ends", () => {
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

test("R17: the end of an unterminated last line is hidden if it may be the beginning of a secret", () => {
  const { write, end, text } = log(["hunter22", "secret-of-mine"]);
  write("it is hunter22 and secret-of");
  end();
  expect(text()).toEqual(["it is [redacted] and … (cut)"]);
});

test("a follower gets the newest lines, new lines, and the number of lines that it missed; closing the log ends it", async () => {
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

test("lines written after a close go to the successor of the log, and on to its successor", () => {
  const [old, next, last] = [log(), log(), log()];
  old.write("before\n");
  old.it.close(next.it);
  old.write("while it drains\n");
  next.it.close(last.it);
  old.write("its last word\n");
  const words = ({ it }: typeof old) => it.last(9).map((line) => line.split(" ").slice(2).join(" "));
  expect([words(old), words(next), words(last)]).toEqual([["before"], ["while it drains"], ["its last word"]]);
});

test("a follower that leaves is released, although nothing is written", async () => {
  const leaving = new AbortController();
  const next = log().it.follow(1, leaving.signal).next();
  leaving.abort();
  expect((await next).done).toBe(true);
});
