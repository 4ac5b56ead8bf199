import type { Flatness } from "./flat.ts";
import type { Matrix, Row } from "./matrix.ts";
import type { Protocol } from "./protocol.ts";
import type { Startup } from "./startup.ts";

/** One goal: the measured value, its bound, and whether it is met; `value` is null if it could not be measured. */
export type Goal = {
  readonly name: string;
  readonly value: number | null;
  readonly bound: string;
  readonly met: boolean | null;
};

export type Measured = {
  readonly matrix: Matrix;
  readonly startup: Startup;
  readonly protocol: Protocol;
  readonly flatness: readonly Flatness[];
  readonly syncMs: number;
  /** Why the HTTP rows prove nothing; null if they are valid. */
  readonly invalid: string | null;
};

const most = (name: string, value: number | null, bound: number, unit: string): Goal => ({
  name,
  value,
  bound: `≤ ${bound.toFixed(2)} ${unit}`,
  met: value === null ? null : value <= bound,
});

const least = (name: string, value: number | null, bound: number): Goal => ({
  name,
  value,
  bound: `≥ ${bound.toFixed(2)}`,
  met: value === null ? null : value >= bound,
});

function find(rows: readonly Row[], way: Row["way"], callers: number): Row | undefined {
  return rows.find((row) => row.upstream === "HTTP" && row.way === way && row.callers === callers);
}

const ratio = (a: Row | undefined, b: Row | undefined): number | null => (a && b ? a.rate / b.rate : null);
const added = (a: Row | undefined, b: Row | undefined): number | null => (a && b ? a.p50 - b.p50 : null);

/** Returns all goals of speed and size, compared with the measurement. */
export function goals({ matrix: { rows, memory }, startup, protocol, flatness, syncMs, invalid }: Measured): Goal[] {
  const nginx = find(rows, "nginx", 64);
  const alone = find(rows, "direct", 1);
  const http = [
    least("throughput relative to nginx, strict, 64 callers", ratio(find(rows, "strict", 64), nginx), 0.3),
    least("throughput relative to nginx, relaxed, 64 callers", ratio(find(rows, "relaxed", 64), nginx), 0.42),
    most("p99, strict, 64 callers", find(rows, "strict", 64)?.p99 ?? null, 15, "ms"),
    most("p99, relaxed, 64 callers", find(rows, "relaxed", 64)?.p99 ?? null, 15, "ms"),
    most("added p50, relaxed, 1 caller", added(find(rows, "relaxed", 1), alone), 0.15, "ms"),
    most("added p50, strict, 1 caller", added(find(rows, "strict", 1), alone), 0.15 + 2 * syncMs, "ms"),
  ];
  return [
    ...http.map((goal) => (invalid === null ? goal : { ...goal, met: null })),
    ...memory.map(({ way, idle }) => most(`idle memory, ${way}`, idle, 80, "MiB")),
    most("idle memory, no servers", startup.idleMiB, 80, "MiB"),
    most("ready, no servers", startup.readyMs, 300, "ms"),
    most("mcpgw --version", startup.versionMs, 15, "ms"),
    most("an idle legacy session, out of 10,000", protocol.sessionKiB, 12, "KiB"),
    most("listing 10,000 tools of 50 servers, p99", protocol.listMs, 50, "ms"),
    most("added by each of 1,000 progress notifications", protocol.progressUs, 50, "µs"),
    ...flatness.map(({ what, ratio: growth }) => most(`cost per call, ${what}`, growth, 1.1, "times")),
  ];
}
