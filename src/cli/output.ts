import { line } from "../control/format.ts";
import type { Tone } from "../control/present.ts";
import { wasClosed } from "./descriptor.ts";
import { codeOf } from "../core/error-text.ts";
import { plainJson } from "../core/text.ts";

const codes = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Color = keyof typeof codes;

/** How each tone looks on a terminal. */
export const toneColors: Readonly<Record<Tone, Color>> = {
  good: "green",
  doubtful: "yellow",
  bad: "red",
  quiet: "dim",
};

type Paint = (color: Color, text: string) => string;

/** One cell: untrusted text, and how it looks. Where it has to be cut, its beginning stays, or else its last word. */
export type Cell =
  | string
  | {
      readonly text: string;
      readonly color?: Color;
      readonly right?: true;
      readonly lastWord?: true;
      readonly whole?: true;
    };

/** A cell of a column of numbers. */
export const right = (text: string): Cell => ({ text, right: true });

/**
 * A cell that is of no use when it is cut: an id, a time, a reason. Its row sticks out of a narrow terminal instead.
 */
export const whole = (text: string, color?: Color): Cell => ({ text, whole: true, ...(color && { color }) });

/** Where a command prints to: data to standard output, everything else to standard error. */
export type Output = {
  readonly json: boolean;
  readonly paint: Paint;
  /** Whether the output is a terminal, which obeys control characters and has a limited width. */
  readonly terminal: boolean;
  /** Prints a line of data; resolves once the reader took it. */
  print(text: string): Promise<void>;
  /** Prints JSON text, made safe for the terminal. */
  printJson(json: string): Promise<void>;
  document(value: unknown): Promise<void>;
  /** Prints one object of a stream, on one line. */
  object(value: unknown): Promise<void>;
  /** Prints aligned columns under headings; cells are made safe for the terminal. */
  table(headings: readonly string[], rows: readonly (readonly Cell[])[]): Promise<void>;
  section: Output["table"];
  /** Prints names and their values, which are never cut. */
  facts(rows: readonly (readonly [name: string, value: Cell])[]): Promise<void>;
  /** Tells something, on one line that is made safe for the terminal, to the person who runs the command. */
  say(text: string, color?: Color): void;
  /** Says what that person should know though the command goes on. */
  warn(text: string): void;
};

type Streams = {
  readonly out: NodeJS.WriteStream;
  readonly err: NodeJS.WriteStream;
  readonly json: boolean;
  readonly color: boolean;
};

const textOf = (cell: Cell): string => line(typeof cell === "string" ? cell : cell.text);

/** Room for a time of day. */
const narrowest = 12;

/** Room for any id. If nothing is cut, a longer text sticks out of its own row instead of widening all others. */
const widest = 64;

/** The width of each column. */
export function widthsOf(rows: readonly (readonly Cell[])[]): number[] {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, index) => (widths[index] = Math.max(widths[index] ?? 0, Bun.stringWidth(textOf(cell)))));
  return widths;
}

/**
 * Cuts the widest columns until the rows fit: names that others chose can have any length. Columns of whole cells are
 * cut to the longest id only, and such cells of the last column not at all.
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

/** The longest beginning of a text that fits into this many columns. */
function cutTo(text: string, width: number): string {
  if (Bun.stringWidth(text) <= width) return text;
  let shown = "";
  for (const char of text) {
    if (Bun.stringWidth(shown + char) >= width) break;
    shown += char;
  }
  return `${shown}…`;
}

/** Numbers are whole too: a part of one would be another. */
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

/** One line of cells in columns of these widths, from which longer ones stick out; the last one is never padded. */
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

/** Aligns each heading to the left or right, like its values. */
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

/** Thrown when nobody reads standard output any more, as after `| head`. */
export class ReaderLeft extends Error {
  constructor() {
    super("nobody reads standard output any more");
    this.name = "ReaderLeft";
  }
}

/** Shows a command's finding. The exit code says the same, so it stands even if the reader leaves early. */
export async function untilReaderLeaves(show: Promise<void>): Promise<void> {
  await show.catch((error: unknown) => {
    if (!(error instanceof ReaderLeft)) throw error;
  });
}

const failure = (error: Error): Error => (codeOf(error) === "EPIPE" ? new ReaderLeft() : error);

// The failed write reports the error itself.
const quiet = (): void => {};

let closed: boolean | null = null;

/** Resolves once the reader took the text; rejects with the error of the write, a `ReaderLeft` if nobody reads. */
export function write(stream: NodeJS.WriteStream, text: string): Promise<void> {
  if (stream === process.stdout && (closed ??= wasClosed(1)))
    return Promise.reject(new Error("standard output is closed"));
  if (!stream.listeners("error").includes(quiet)) stream.on("error", quiet);
  return new Promise((resolve, reject) => stream.write(text, (error) => (error ? reject(failure(error)) : resolve())));
}

/** Creates the output of a command; colours appear only on a terminal that wants them. */
export function createOutput({ out, err, json, color }: Streams): Output {
  const wanted = color && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb";
  const paint = painter(wanted && out.isTTY);
  const paintSaid = painter(wanted && err.isTTY);
  const print = (text: string) => write(out, `${text}\n`);
  const printJson = (json: string) => print(plainJson(json));
  const table: Output["table"] = (headings, rows) => {
    const all = [headingRow(headings, rows), ...rows];
    // A terminal that does not tell its width says 0.
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
