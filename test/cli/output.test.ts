import { expect, test } from "bun:test";
import { createOutput } from "../../src/cli/output.ts";

/** A stream that keeps what is written to it. */
function stream(isTTY: boolean, columns: number) {
  const written: string[] = [];
  const write = (text: string, done?: () => void): boolean => {
    written.push(text);
    done?.();
    return true;
  };
  // As much of a stream as the output uses.
  const fake = { isTTY, columns, write, on: () => fake, listeners: () => [] } as unknown as NodeJS.WriteStream;
  return { fake, written };
}

async function tableOn(isTTY: boolean, columns: number): Promise<string[]> {
  const { fake, written } = stream(isTTY, columns);
  const out = createOutput({ out: fake, err: fake, json: false, color: false });
  const long = "世界".repeat(60);
  await out.table(
    ["NAME", "CALLS"],
    [
      [long, { text: "1", right: true }],
      ["short", { text: "20,000", right: true }],
      [`\u001b[31m${"x".repeat(300)}`, { text: "3", right: true }],
    ],
  );
  return written.join("").trimEnd().split("\n");
}

test("T58: names that others chose are cut to the terminal, and whole where none is", async () => {
  for (const columns of [20, 40, 80, 200]) {
    const lines = await tableOn(true, columns);
    expect(Math.max(...lines.map((line) => Bun.stringWidth(line)))).toBeLessThanOrEqual(columns);
    expect(lines.join("")).toContain("20,000");
    expect(lines[1]).toContain("…");
  }
  const whole = await tableOn(false, 40);
  expect(whole[1]).toContain("世界".repeat(60));
});
