import { mkdir, rm } from "node:fs/promises";
import { arch, cpus, platform, release } from "node:os";
import { join } from "node:path";
import { ensureBinary, root } from "../build.ts";
import { measureDisk } from "./disk.ts";
import { measureFlatness } from "./flat.ts";
import { goals, type Measured } from "./goals.ts";
import { type Load, pickLoad } from "./load.ts";
import { type Effort, type Matrix, measureMatrix } from "./matrix.ts";
import { measureProtocol } from "./protocol.ts";
import { report } from "./report.ts";
import { measureStartup } from "./startup.ts";

const usage = "scripts/bench [--quick] [--own-generator]";

const full: Effort = { callers: [1, 8, 64], rounds: 5, seconds: 3 };
const quick: Effort = { callers: [1, 64], rounds: 2, seconds: 1 };

/** Returns why the comparison with nginx proves nothing; null if it is valid. */
function invalidity({ rows, nginx }: Matrix, load: Load, isDisk: boolean): string | null {
  const rate = (way: string): number =>
    rows.find((row) => row.upstream === "HTTP" && row.way === way && row.callers === 64)?.rate ?? 0;
  if (!isDisk) return "the state is in memory, so strict costs nothing";
  if (rows.some(({ errors }) => errors > 0)) return "some answers were errors";
  if (!nginx || load.name === "wrk" || rate("direct") >= 1.5 * rate("nginx")) return null;
  return `the ${load.name} alone reaches less than 1.5 times the rate of nginx, so it may be the bottleneck`;
}

async function main(flags: readonly string[]): Promise<number> {
  const odd = flags.find((flag) => flag !== "--quick" && flag !== "--own-generator");
  if (odd !== undefined) {
    console.error(`unknown argument ${odd}; usage: ${usage}`);
    return 2;
  }
  const effort = flags.includes("--quick") ? quick : full;
  const dir = join(root, "dist/bench");
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  await ensureBinary();
  const load = pickLoad(flags.includes("--own-generator"));
  const disk = measureDisk(dir);
  const startup = await measureStartup(dir, effort.rounds);
  const protocol = await measureProtocol(dir, effort === quick ? 5 : 20);
  const flatness = await measureFlatness(effort === quick ? 5 : 20);
  const matrix = await measureMatrix(dir, load, effort);
  const invalid = invalidity(matrix, load, disk.isDisk);
  const measured: Measured = { matrix, startup, protocol, flatness, syncMs: disk.syncMs, invalid };
  const list = goals(measured);
  const notes = [
    `${platform()} ${release()} ${arch()}, ${cpus().length} × ${cpus()[0]?.model ?? "unknown"}`,
    `load: ${load.name}, ${effort.rounds} alternations of ${effort.seconds} s each, medians`,
    `state: ${dir}, fdatasync p50 ${disk.syncMs.toFixed(3)} ms`,
    ...(matrix.nginx ? [] : ["nginx is not installed, so there is no ratio to it"]),
    ...(invalid === null ? [] : [`HTTP rows are INVALID: ${invalid}`]),
  ];
  console.log(report(measured, list, notes));
  await Bun.write(join(root, "dist/bench.json"), `${JSON.stringify({ notes, ...measured, goals: list }, null, 2)}\n`);
  return matrix.rows.some(({ errors }) => errors > 0) ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
