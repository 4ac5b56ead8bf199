import { line } from "../control/format.ts";
import type { Tone } from "../control/present.ts";
import { wasClosed } from "./descriptor.ts";
import { codeOf } from "../core/error-text.ts";
import { plainJson } from "../core/text.ts";

const codes = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Color = keyof typeof codes;

export const toneColors: Readonly<Record<Tone, Color>> = {
  good: "green",
  doubtful: "yellow",
  bad: "red",
  quiet: "dim",
};

type Paint = (color: Color, text: string) => string;

/** A table cell: untrusted text and its style. A cut cell keeps its beginning, or its last word with `lastWord`. */
export type Cell =
  | string
  | {
      readonly text: string;
      readonly color?: Color;
      readonly right?: true;
      readonly lastWord?: true;
      readonly whole?: true;
    };

/** Returns a right-aligned cell for a number. */
export const right = (text: string): Cell => ({ text, right: true });

/** Returns a cell that is useless when cut, such as an id or a reason; its row may exceed a narrow terminal. */
export const whole = (text: string, color?: Color): Cell => ({ text, whole: true, ...(color && { color }) });

/** The output of a command: data goes to standard output, everything else to standard error. */
export type Output = {
  readonly json: boolean;
  readonly paint: Paint;
  /** Whether standard output is a terminal, which interprets control characters and has a limited width. */
  readonly terminal: boolean;
  /** Prints a line of data; resolves once it is written. */
  print(text: string): Promise<void>;
  /** Prints JSON text with terminal control characters escaped. */
  printJson(json: string): Promise<void>;
  document(value: unknown): Promise<void>;
  /** Prints one object of a stream, on one line. */
  object(value: unknown): Promise<void>;
  /** Prints aligned columns under headings; control characters in cells are escaped. */
  table(headings: readonly string[], rows: readonly (readonly Cell[])[]): Promise<void>;
  section: Output["table"];
  /** Prints names and their values; values are never cut. */
  facts(rows: readonly (readonly [name: string, value: Cell])[]): Promise<void>;
  /** Prints a one-line message for the user on standard error, with control characters escaped. */
  say(text: string, color?: Color): void;
  /** Prints a warning for the user; the command continues. */
  warn(text: string): void;
};

type Streams = {
  readonly out: NodeJS.WriteStream;
  readonly err: NodeJS.WriteStream;
  readonly json: boolean;
  readonly color: boolean;
};

const textOf = (cell: Cell): string => line(typeof cell === "string" ? cell : cell.text);

/** The minimum width of a cut column: a time of day. */
const narrowest = 12;

/** Enough for any id. When nothing is cut, a longer text exceeds its column instead of widening it for all rows. */
const widest = 64;

/** Returns the width of each column, in terminal columns. */
export function widthsOf(rows: readonly (readonly Cell[])[]): number[] {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, index) => (widths[index] = Math.max(widths[index] ?? 0, Bun.stringWidth(textOf(cell)))));
  return widths;
}

/**
 * Cuts the widest columns until the rows fit, since names from servers can have any length. Columns with whole cells
 * are cut only to the maximum length of an id; whole cells in the last column are never cut.
 */
function fitted(rows: readonly (readonly Cell[])[], columns: number): Cell[][] {
  const widths = widthsOf(rows);
  const last = widths.length - 1;
  const kept = widths.map((_, at) => at < last && rows.some((row) => isWhole(row[at])));
  for (const [at, width] of widths.entries()) if (kept[at]) widths[at] = Math.min(width, widest);
  const total = (): number => widths.reduce((sum, width) => sum + width, 2 * last);
  while (total() > columns) {
    const width = Math.max(...widths.filter((_, at) => !kept[at]));
    const at = widths.findIndex((each, index) => !kept[index] && each === width);
    const least = rows.some((row) => keepsLastWord(row[at])) ? narrowest + 1 : narrowest;
    if (width <= least) break;
    widths[at] = Math.max(least, width - (total() - columns), Math.floor(width / 2));
  }
  return rows.map((row) =>
    row.map((cell, index): Cell => {
      const text = index === last && isWhole(cell) ? textOf(cell) : cutCell(cell, widths[index] ?? 0);
      return typeof cell === "string" ? text : { ...cell, text };
    }),
  );
}

/** Cuts a text to this many terminal columns. */
function cutTo(text: string, width: number): string {
  if (Bun.stringWidth(text) <= width) return text;
  let shown = "";
  for (const char of text) {
    if (Bun.stringWidth(shown + char) >= width) break;
    shown += char;
  }
  return `${shown}…`;
}

/** Reports whether a cell must stay whole. Numbers must, since a cut number would be a different number. */
const isWhole = (cell: Cell | undefined): boolean =>
  typeof cell === "object" && (cell.whole === true || cell.right === true);

const keepsLastWord = (cell: Cell | undefined): boolean => typeof cell === "object" && cell.lastWord === true;

function cutCell(cell: Cell, width: number): string {
  const text = textOf(cell);
  if (!keepsLastWord(cell) || Bun.stringWidth(text) <= width) return cutTo(text, width);
  return `…${cutTo(text.slice(text.lastIndexOf(" ") + 1), width - 1)}`;
}

function layout(rows: readonly (readonly Cell[])[], paint: Paint, most: number): string[] {
  const widths = widthsOf(rows).map((width) => Math.min(width, most));
  return rows.map((row) => aligned(row, widths, paint));
}

/** Joins cells into a line with columns of these widths. Longer cells exceed them; the last cell is not padded. */
export function aligned(row: readonly Cell[], widths: readonly number[], paint: Paint): string {
  const cells = row.map((cell, index) => {
    const text = textOf(cell);
    const style: Exclude<Cell, string> = typeof cell === "string" ? { text } : cell;
    const gap = " ".repeat(Math.max(0, (widths[index] ?? 0) - Bun.stringWidth(text)));
    const shown = style.color && text ? paint(style.color, text) : text;
    return style.right ? gap + shown : shown + gap;
  });
  return cells.join("  ").trimEnd();
}

function headingRow(headings: readonly string[], rows: readonly (readonly Cell[])[]): Cell[] {
  return headings.map((text, index) => {
    const below = rows[0]?.[index];
    const right = typeof below === "object" && below.right ? { right: below.right } : {};
    return { text, color: "dim", ...right };
  });
}

const painter =
  (on: boolean): Paint =>
  (color, text) =>
    on ? `\u001b[${codes[color]}m${text}\u001b[0m` : text;

/** Thrown when the reader of standard output has closed it, as `| head` does. */
export class ReaderLeft extends Error {
  constructor() {
    super("the reader of standard output has closed it");
    this.name = "ReaderLeft";
  }
}

/** Waits for the output of a result, which the exit code repeats; so a reader that leaves early is not an error. */
export async function untilReaderLeaves(show: Promise<void>): Promise<void> {
  await show.catch((error: unknown) => {
    if (!(error instanceof ReaderLeft)) throw error;
  });
}

const failure = (error: Error): Error => (codeOf(error) === "EPIPE" ? new ReaderLeft() : error);

// The callback of the failed write reports the error.
const quiet = (): void => {};

let closed: boolean | null = null;

/** Writes a text; resolves once it is written, and rejects with a `ReaderLeft` if the reader has closed the stream. */
export function write(stream: NodeJS.WriteStream, text: string): Promise<void> {
  if (stream === process.stdout && (closed ??= wasClosed(1)))
    return Promise.reject(new Error("standard output is closed"));
  if (!stream.listeners("error").includes(quiet)) stream.on("error", quiet);
  return new Promise((resolve, reject) => stream.write(text, (error) => (error ? reject(failure(error)) : resolve())));
}

/** Creates the output of a command. Colors are used only on a terminal, and unless NO_COLOR or TERM=dumb is set. */
export function createOutput({ out, err, json, color }: Streams): Output {
  const wanted = color && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb";
  const paint = painter(wanted && out.isTTY);
  const paintSaid = painter(wanted && err.isTTY);
  const print = (text: string) => write(out, `${text}\n`);
  const printJson = (json: string) => print(plainJson(json));
  const table: Output["table"] = (headings, rows) => {
    const all = [headingRow(headings, rows), ...rows];
    // A terminal that does not report its width has 0 columns.
    const lines = out.isTTY
      ? layout(fitted(all, out.columns || Infinity), paint, Infinity)
      : layout(all, paint, widest);
    return print(lines.join("\n"));
  };
  const say: Output["say"] = (text, color) => void err.write(`${color ? paintSaid(color, line(text)) : line(text)}\n`);
  return {
    json,
    terminal: out.isTTY,
    paint,
    print,
    document: (value) => printJson(JSON.stringify(value, null, 2)),
    object: (value) => printJson(JSON.stringify(value)),
    printJson,
    table,
    section: async (...of) => {
      await print("");
      await table(...of);
    },
    facts(rows) {
      const named = rows.map(([name, value]): Cell[] => [{ text: name, color: "dim" }, value]);
      return print(layout(named, paint, widest).join("\n"));
    },
    say,
    warn: (text) => say(`mcpgw: warning: ${text}`, "yellow"),
  };
}
