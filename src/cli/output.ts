import { line } from "../control/format.ts";

const codes = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Color = keyof typeof codes;
type Paint = (color: Color, text: string) => string;

/** One cell: untrusted text, and how it looks. */
export type Cell = string | { readonly text: string; readonly color?: Color; readonly right?: true };

/** Where a command prints to: data to standard output, everything else to standard error. */
export type Output = {
  readonly json: boolean;
  readonly paint: Paint;
  /** A line of data; resolves when the reader took it. */
  print(text: string): Promise<void>;
  /** A JSON document. */
  document(value: unknown): Promise<void>;
  /** One object of a stream, on one line. */
  object(value: unknown): Promise<void>;
  /** Aligned columns under headings; cells are made safe for the terminal. */
  table(headings: readonly string[], rows: readonly (readonly Cell[])[]): Promise<void>;
  /** A word to the person who runs the command. */
  note(text: string): void;
};

type Streams = {
  readonly out: NodeJS.WriteStream;
  readonly err: NodeJS.WriteStream;
  readonly json: boolean;
  readonly color: boolean;
};

const textOf = (cell: Cell): string => line(typeof cell === "string" ? cell : cell.text);

/** Lays out rows; the last column is never padded. */
function layout(rows: readonly (readonly Cell[])[], paint: Paint): string[] {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, index) => (widths[index] = Math.max(widths[index] ?? 0, Bun.stringWidth(textOf(cell)))));
  return rows.map((row) => {
    const cells = row.map((cell, index) => {
      const text = textOf(cell);
      const style: Exclude<Cell, string> = typeof cell === "string" ? { text } : cell;
      const gap = " ".repeat(Math.max(0, (widths[index] ?? 0) - Bun.stringWidth(text)));
      const shown = style.color && text ? paint(style.color, text) : text;
      if (style.right) return gap + shown;
      return index === row.length - 1 ? shown : shown + gap;
    });
    return cells.join("  ").trimEnd();
  });
}

/** A heading stands over its values, left or right as they do. */
function headingRow(headings: readonly string[], rows: readonly (readonly Cell[])[]): Cell[] {
  return headings.map((text, index) => {
    const below = rows[0]?.[index];
    const right = typeof below === "object" && below.right ? { right: below.right } : {};
    return { text, color: "dim", ...right };
  });
}

/** Colours when asked to. */
const painter =
  (on: boolean): Paint =>
  (color, text) =>
    on ? `\u001b[${codes[color]}m${text}\u001b[0m` : text;

function write(stream: NodeJS.WriteStream, text: string): Promise<void> {
  return new Promise((resolve, reject) => stream.write(text, (error) => (error ? reject(error) : resolve())));
}

export function createOutput({ out, err, json, color }: Streams): Output {
  const paint = painter(color && out.isTTY && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb");
  // The write that failed says so itself.
  out.on("error", () => {});
  const print = (text: string) => write(out, `${text}\n`);
  return {
    json,
    paint,
    print,
    document: (value) => print(JSON.stringify(value, null, 2)),
    object: (value) => print(JSON.stringify(value)),
    async table(headings, rows) {
      const lines = layout(headings.length > 0 ? [headingRow(headings, rows), ...rows] : rows, paint);
      if (lines.length > 0) await print(lines.join("\n"));
    },
    note: (text) => void err.write(`${text}\n`),
  };
}
