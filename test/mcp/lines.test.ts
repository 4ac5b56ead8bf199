import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { LineReader, encodeLine } from "../../src/mcp/lines.ts";
import { idOf, parseMessage } from "../../src/mcp/message.ts";
import { readUpstream } from "../../src/mcp/upstream-message.ts";
import { fastest } from "../support/fastest.ts";
import { cuts, spacedJson } from "./support.ts";

function readAll(chunks: readonly Uint8Array[], max = 1_000_000) {
  const lines: string[] = [];
  const heads: string[] = [];
  const onOverflow = (head: string) => void heads.push(head);
  const reader = new LineReader({ max: () => max, onLine: (line) => void lines.push(line), onOverflow });
  for (const chunk of chunks) {
    const reused = Uint8Array.from(chunk);
    reader.push(reused);
    // The caller may reuse its buffer, so a reader must not keep it.
    reused.fill(0x78);
  }
  reader.end();
  return { lines, heads, overflows: heads.length };
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test.each([
  ["a\nb\n", ["a", "b"]],
  ["a\r\nb", ["a", "b"]],
  ["\n\r\n  \n", []],
  ["", []],
  ["a\rb\n", ["a\rb"]],
  ["世界\n🙂", ["世界", "🙂"]],
] as [string, string[]][])("%j", (text, lines) => expect(readAll([bytes(text)]).lines).toEqual(lines));

test("lines are the same however the bytes are split", () => {
  const line = fc
    .string({ unit: "grapheme", minLength: 1, maxLength: 30 })
    .filter((text) => !/^\s*$|[\r\n\ufeff]/.test(text));
  fc.assert(
    fc.property(
      fc.array(line, { maxLength: 8 }),
      fc.constantFrom("\n", "\r\n"),
      fc.array(fc.nat(), { maxLength: 20 }),
      (lines, end, at) => {
        const whole = bytes(lines.map((text) => text + end).join(""));
        expect(readAll(cuts(whole, at)).lines).toEqual(lines);
      },
    ),
    { numRuns: 500 },
  );
});

describe("T13: the cap", () => {
  test("a line of exactly the cap passes, a longer one does not, and the next line is read again", () => {
    const text = `${"x".repeat(10)}\n${"y".repeat(11)}\nz\n`;
    for (const size of [1, 2, 3, 7, 11, 100]) {
      const whole = bytes(text);
      const chunks = Array.from({ length: Math.ceil(whole.length / size) }, (_, i) =>
        whole.subarray(i * size, (i + 1) * size),
      );
      expect(readAll(chunks, 10)).toMatchObject({ lines: ["x".repeat(10), "z"], overflows: 1 });
    }
  });

  test("a flood without a line ending is one overflow", () => {
    const chunk = bytes("x".repeat(65_536));
    expect(
      readAll(
        Array.from({ length: 200 }, () => chunk),
        100_000,
      ),
    ).toMatchObject({ lines: [], overflows: 1 });
  });

  test("many small chunks cost linear time", () => {
    const chunk = bytes("x".repeat(16));
    const run = (chunks: number): number =>
      fastest(() => {
        const reader = new LineReader({ max: () => 1e9, onLine: () => {}, onOverflow: () => {} });
        for (let i = 0; i < chunks; i++) reader.push(chunk);
        reader.end();
      });
    run(20_000);
    // The ratio is 32 for linear time and 1,024 for quadratic time.
    expect(run(640_000) / run(20_000)).toBeLessThan(200);
  });
});

test("an encoded message is one line with the same JSON value", () => {
  fc.assert(
    fc.property(spacedJson, (text) => {
      const line = encodeLine(text);
      expect(line.indexOf("\n")).toBe(line.length - 1);
      expect(JSON.parse(line)).toEqual(JSON.parse(text));
    }),
  );
  expect(encodeLine('{"n":1.10}')).toBe('{"n":1.10}\n');
});

test("the start of a line that is too long is reported once, however the bytes are split", () => {
  const long = bytes(`{"id":7,"x":"${"y".repeat(50)}"}\n{"id":8}\n`);
  for (let at = 0; at < long.length; at++) {
    expect(readAll([long.subarray(0, at), long.subarray(at)], 20)).toEqual({
      lines: ['{"id":8}'],
      heads: ['{"id":7,"x":"yyyyyyy'],
      overflows: 1,
    });
  }
});

test("T20: a line that is not UTF-8 is not accepted as JSON, but its id can be read", () => {
  const line = Buffer.concat([bytes('{"jsonrpc":"2.0","id":7,"method":"'), Buffer.of(0xc3, 0x28), bytes('"}\n')]);
  for (let at = 1; at < line.length; at++) {
    const { lines } = readAll([line.subarray(0, at), line.subarray(at)]);
    expect(lines).toHaveLength(1);
    expect(idOf(lines[0] ?? "")).toBe("7");
    expect(() => parseMessage(lines[0] ?? "", { depth: 9, nodes: 99 })).toThrow("not valid UTF-8");
    expect(readUpstream(lines[0] ?? "", { depth: 9, nodes: 99 })).toMatchObject({ kind: "invalid" });
  }
});
