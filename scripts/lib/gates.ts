import { mkdir, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { ensureBinary, root } from "./build.ts";
import { type Case, readReport, skipReason } from "./junit.ts";
import { checkRequirements } from "./requirements.ts";

// Runs every gate, even after one has failed, and counts each as one check in addition to the tests.

type Gate = { readonly name: string; readonly run: () => Promise<boolean> };

const report = join(root, "dist/junit.xml");
// How long each file took, so that the next run starts the longest files first and none of them runs alone at the end.
const timings = join(root, "dist/test-timings.json");
// Most tests wait for their own child processes; more workers would only slow each other down.
const workers = Math.min(4, availableParallelism());
const counts = { passed: 0, failed: 0, skipped: 0 };

/** Runs the pinned Bun with these arguments from the project's root. */
async function bun(...args: string[]): Promise<boolean> {
  const child = Bun.spawn([process.execPath, ...args], {
    cwd: root,
    // Passed explicitly, because the build gate adds to it.
    env: process.env,
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
  });
  return (await child.exited) === 0;
}

const lint = join("scripts", "lint");

const quick: readonly Gate[] = [
  { name: "format", run: () => bun("x", "oxfmt", "-c", join(lint, "oxfmt.json"), "--check", "src", "test", "scripts") },
  {
    name: "lint",
    run: () =>
      bun("x", "oxlint", "--type-aware", "--deny-warnings", "-c", join(lint, "oxlint.json"), "src", "test", "scripts"),
  },
  { name: "types", run: () => bun("x", "tsc", "--noEmit") },
  { name: "dead code", run: () => bun("x", "knip", "--no-progress") },
];

const build: Gate = {
  name: "build",
  run: () =>
    ensureBinary().then(
      (binary) => {
        // The tests run the binary that is shipped, which also starts faster than the sources.
        process.env["MCPGW_BIN"] = binary;
        return true;
      },
      (error: unknown) => {
        console.log(error instanceof Error ? error.message : error);
        return false;
      },
    ),
};

async function gate({ name, run }: Gate): Promise<void> {
  const started = performance.now();
  const ok = await run();
  counts[ok ? "passed" : "failed"]++;
  console.log(`[${ok ? "ok" : "FAILED"}] ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
}

function count(cases: readonly Case[]): void {
  for (const { state } of cases) counts[state]++;
  for (const one of cases.filter(({ state }) => state === "skipped")) {
    console.log(`skipped: ${one.name}: ${skipReason(one.name)}`);
  }
}

function slowest(cases: readonly Case[]): void {
  const perFile = new Map<string, number>();
  for (const { file, seconds } of cases) perFile.set(file, (perFile.get(file) ?? 0) + seconds);
  const top = [...perFile].toSorted((a, b) => b[1] - a[1]).slice(0, 10);
  console.log("slowest test files:");
  for (const [file, seconds] of top) console.log(`  ${seconds.toFixed(1).padStart(6)} s  ${file}`);
}

/** Runs all tests. Returns the cases in the report of this run; none if the runner wrote no report. */
async function runTests(): Promise<readonly Case[]> {
  await rm(report, { force: true });
  // Bun runs no tests if this file is truncated.
  const usable = await Bun.file(timings)
    .json()
    .then(
      () => true,
      () => false,
    );
  if (!usable) await rm(timings, { force: true });
  const ok = await bun(
    "test",
    // Longer than tests wait for any event, so that the failed wait reports what did not happen.
    "--timeout=30000",
    `--parallel=${workers}`,
    `--timings=${timings}`,
    "--update-timings",
    "--reporter=junit",
    `--reporter-outfile=${report}`,
  );
  const cases = readReport(
    await Bun.file(report)
      .text()
      .catch(() => ""),
  );
  count(cases);
  slowest(cases);
  const explained = cases.some(({ state }) => state === "failed");
  // The report does not contain errors outside tests or a crash of the runner.
  await gate({ name: "test run is complete", run: async () => cases.length > 0 && (ok || explained) });
  return cases;
}

function requirements(cases: readonly Case[]): Gate {
  return {
    name: "requirements",
    run: async () => {
      const { problems, summary } = checkRequirements(cases);
      for (const problem of problems) console.log(problem);
      console.log(summary);
      return problems.length === 0;
    },
  };
}

function unexplainedSkips(cases: readonly Case[]): Gate {
  const silent = cases.filter(({ state, name }) => state === "skipped" && skipReason(name) === null);
  return {
    name: "skipped tests give a reason",
    run: async () => {
      for (const { name, file } of silent) console.log(`${file}: "${name}" is skipped but does not end in "(needs …)"`);
      return silent.length === 0;
    },
  };
}

await mkdir(join(root, "dist"), { recursive: true });
for (const one of quick) await gate(one);
if (process.argv[2] === "all") {
  await gate(build);
  const cases = await runTests();
  await gate(requirements(cases));
  await gate(unexplainedSkips(cases));
}
const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
process.exitCode = counts.failed > 0 ? 1 : 0;
