import { Box, Text } from "ink";
import { line } from "../control/format.ts";
import type { Column } from "./screens.ts";
import { indexIn } from "./state.ts";

const colors = { good: "green", doubtful: "yellow", bad: "red", quiet: "gray", accent: "cyan" } as const;

/** Width of the mark of the selected row. */
const mark = 2;

type Props<T> = {
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  readonly keyOf: (row: T) => string;
  /** As in `State`. */
  readonly selected: string | null;
  /** Size of the table area, including headings. */
  readonly width: number;
  readonly height: number;
  readonly empty: string;
};

/** Returns the first row to show so that the selected row is visible. */
function firstShown(selected: number, count: number, room: number): number {
  return Math.max(0, Math.min(selected - Math.floor(room / 2), count - room));
}

// Whole numbers, because with fractional widths ink cuts text without an ellipsis. In narrow space, the first shrinks.
function widthsOf<T>(columns: readonly Column<T>[], width: number): number[] {
  const fixed = columns.reduce((sum, { width: own = 0 }) => sum + own + 1, 0);
  let shares = columns.reduce((sum, { width: own, grow = 1 }) => sum + (own === undefined ? grow : 0), 0);
  let left = Math.max(0, width - fixed);
  return columns.map(({ width: own, grow = 1 }, index) => {
    if (own !== undefined) return index === 0 ? Math.max(0, own - Math.max(0, fixed - width)) : own;
    const share = Math.floor((left * grow) / shares);
    shares -= grow;
    left -= share;
    return share;
  });
}

type Row<T> = { readonly columns: readonly Column<T>[]; readonly row: T | null; readonly width: number };

function Cells<T>({ columns, row, width }: Row<T>) {
  const widths = widthsOf(columns, width);
  return columns.map((column, index) => {
    const text = row === null ? column.title : line(column.text(row));
    const color = row === null || !column.tone ? undefined : colors[column.tone(row)];
    return (
      <Box
        key={column.title}
        width={widths[index] ?? 0}
        flexShrink={0}
        marginRight={1}
        justifyContent={column.right ? "flex-end" : "flex-start"}
        overflow="hidden"
      >
        <Text wrap="truncate" dimColor={row === null} {...(color ? { color } : {})}>
          {text}
        </Text>
      </Box>
    );
  });
}

/** A table with headings and a mark at the selected row. Makes untrusted text safe. */
export function Table<T>({ columns, rows, keyOf, selected, width, height, empty }: Props<T>) {
  const shown = columns.filter(({ from = 0 }) => width >= from);
  const room = Math.max(1, height - 1);
  const selectedAt = indexIn(rows.map(keyOf), selected);
  const at = firstShown(selectedAt, rows.length, room);
  return (
    <Box flexDirection="column" height={height}>
      <Box height={1} paddingLeft={mark}>
        <Cells columns={shown} row={null} width={width - mark} />
      </Box>
      {rows.length === 0 ? <Text dimColor> {empty}</Text> : null}
      {rows.slice(at, at + room).map((row, index) => (
        <Box key={keyOf(row)} height={1}>
          <Text color="cyan">{at + index === selectedAt ? "▸ " : "  "}</Text>
          <Cells columns={shown} row={row} width={width - mark} />
        </Box>
      ))}
    </Box>
  );
}
