import type { Goal, Measured } from "./goals.ts";
import type { Row } from "./matrix.ts";

const digits = (value: number | null | undefined, places: number): string =>
  value === null || value === undefined || Number.isNaN(value) ? "-" : value.toFixed(places);

/** Returns columns padded to their widest cell, the first two aligned left, the numbers right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ")
      .trimEnd();
  return [line(head), ...rows.map(line)].join("\n");
}

function rates(rows: readonly Row[]): string {
  const peer = (row: Row, way: Row["way"]): Row | undefined =>
    rows.find((one) => one.upstream === row.upstream && one.callers === row.callers && one.way === way);
  const cells = rows.map((row) => {
    const nginx = peer(row, "nginx");
    const direct = peer(row, "direct");
    return [
      row.upstream,
      row.way === "strict" || row.way === "relaxed" ? `mcpgw ${row.way}` : row.way,
      String(row.callers),
      digits(row.rate, 0),
      digits(row.p50, 3),
      digits(row.p99, 3),
      digits(nginx && row.rate / nginx.rate, 2),
      digits(direct && row.rate / direct.rate, 2),
      digits(direct && row.p50 - direct.p50, 3),
      String(row.errors),
    ];
  });
  const head = [
    "upstream",
    "way",
    "callers",
    "calls/s",
    "p50 ms",
    "p99 ms",
    "vs nginx",
    "vs direct",
    "added p50",
    "errors",
  ];
  return table(head, cells);
}

const verdict = (met: boolean | null): string => (met === null ? "unknown" : met ? "met" : "MISSED");

/** Returns the report of a measurement: notes, the table of rates, memory, and each goal with its verdict. */
export function report(measured: Measured, list: readonly Goal[], notes: readonly string[]): string {
  const { matrix, flatness } = measured;
  return [
    ...notes,
    "",
    rates(matrix.rows.toSorted((a, b) => a.upstream.localeCompare(b.upstream) || a.callers - b.callers)),
    "",
    table(
      ["memory", "", "idle MiB", "under load MiB"],
      matrix.memory.map(({ way, idle, loaded }) => [`mcpgw ${way}`, "", digits(idle, 1), digits(loaded, 1)]),
    ),
    "",
    table(
      ["handle() in process", "", "small µs", "large µs"],
      flatness.map(({ what, smallUs, largeUs }) => [what, "", digits(smallUs, 2), digits(largeUs, 2)]),
    ),
    "",
    table(
      ["goal", "verdict", "measured", "bound"],
      list.map(({ name, met, value, bound }) => [name, verdict(met), digits(value, 3), bound]),
    ),
  ].join("\n");
}
