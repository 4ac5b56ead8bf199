import { readdirSync, readFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { ended } from "./processes.ts";
import { linesOf } from "./seen.ts";
import { TempDir } from "./temp-dir.ts";

// Runs the protocol's conformance suite and compares two runs of it.

/** A revision whose requirements the suite has frozen. */
export type Revision = "2025-11-25" | "2026-07-28";

/** `server`: the suite is the client. `client`: the suite is the server. */
type Leg = "server" | "client";

const runner = fileURLToPath(import.meta.resolve("@modelcontextprotocol/conformance/dist/index.js"));
const fixture = join(import.meta.dir, "../fixtures/conformance/main.ts");
const driver = join(import.meta.dir, "../fixtures/conformance/driver.ts");

type Environment = Readonly<Record<string, string>>;
/** The only variables of the environment that the suite and the fixture get; HOME has Bun's compiled code. */
const environment: Environment = { PATH: process.env["PATH"] ?? "", HOME: homedir(), TMPDIR: tmpdir() };

/** Outcomes that count; the suite's remarks (INFO) differ from run to run. */
const statuses = ["SUCCESS", "FAILURE", "WARNING", "SKIPPED"] as const;
type Tally = Readonly<Record<(typeof statuses)[number], number>>;

/** Check id → number of each outcome; ids repeat within a scenario. */
type Checks = ReadonlyMap<string, Tally>;

/** Scenario → its checks. */
export type Run = ReadonlyMap<string, Checks>;

export type Fixture = AsyncDisposable & { readonly url: string };

/** Starts the conformance fixture, for both eras or for one. */
export async function startFixture(only?: "legacy" | "modern"): Promise<Fixture> {
  const child = Bun.spawn([process.execPath, fixture, ...(only ? [`--${only}`] : [])], {
    env: environment,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  return {
    url: await firstLine(child.stdout),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  for await (const line of linesOf(stream)) return line;
  throw new Error("the conformance fixture ended before it was ready");
}

const none: Tally = { SUCCESS: 0, FAILURE: 0, WARNING: 0, SKIPPED: 0 };

/** Stands for a scenario that ended in an error of the runner, which leaves no checks behind. */
const thrown: Checks = new Map([["thrown", { ...none, FAILURE: 1 }]]);

/** Runs all checks that a revision requires, and the suite's unscored ones, against a server. */
export const runServer = (url: string, revision: Revision): Promise<Run> => run("server", ["--url", url], revision);

/** Does the same for the client behind `desk`. The timeout is long because scenarios queue there. */
export const runClient = (desk: string, revision: Revision): Promise<Run> =>
  run("client", ["--command", `'${process.execPath}' '${driver}'`, "--timeout", "120000"], revision, { DESK: desk });

async function run(leg: Leg, args: readonly string[], revision: Revision, more: Environment = {}): Promise<Run> {
  using out = new TempDir();
  const child = Bun.spawn(
    [process.execPath, "--bun", runner, leg, ...args, "--requirements", revision, "--output-dir", out.dir],
    { env: { ...environment, ...more }, stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  );
  const { stdout, stderr } = await ended(child);
  const summary = new Set(Array.from(stdout.matchAll(/^[✓✗] (\S+): \d+ passed/gm), ([, scenario]) => scenario));
  const scenarios = scenariosOf(leg, revision);
  const missing = scenarios.filter((scenario) => !summary.has(scenario));
  if (missing.length > 0) throw new Error(`the suite did not run ${missing.join(", ")}:\n${stdout}\n${stderr}`);
  const result = readRun(out.dir, leg);
  return new Map(scenarios.map((scenario) => [scenario, result.get(scenario) ?? thrown]));
}

/** Reads the runner's output: a directory for each scenario, `[server-]NAME-TIME`, where NAME may contain a slash. */
function readRun(out: string, leg: Leg): Run {
  const result = new Map<string, Checks>();
  for (const file of readdirSync(out, { recursive: true, encoding: "utf8" })) {
    if (basename(file) !== "checks.json") continue;
    const named = dirname(file).replace(/-\d{4}-\d\d-\d\dT[\d-]+Z$/, "");
    const scenario = leg === "server" ? named.replace(/^server-/, "") : named;
    result.set(scenario, readChecks(join(out, file)));
  }
  return result;
}

function readChecks(file: string): Checks {
  const checks = new Map<string, Record<keyof Tally, number>>();
  for (const { id, status } of JSON.parse(readFileSync(file, "utf8")) as { id: string; status: string }[]) {
    const counted = statuses.find((name) => name === status);
    if (counted === undefined) continue;
    const tally = checks.get(id) ?? { ...none };
    tally[counted]++;
    checks.set(id, tally);
  }
  return checks;
}

/** Returns the scenarios of a leg that belong to a revision, scored or not. */
function scenariosOf(leg: Leg, revision: Revision): readonly string[] {
  const file = join(dirname(runner), "../requirements", `${revision}.yaml`);
  // The file belongs to the suite, so its format is pinned with the suite's version.
  const sets = parse(readFileSync(file, "utf8")) as Record<Leg, string[]> & {
    not_scored: { scenario: string; leg: Leg }[];
  };
  return [...sets[leg], ...sets.not_scored.filter((one) => one.leg === leg).map(({ scenario }) => scenario)];
}

/** Returns how many checks passed and failed, as the suite counts them. */
export function totals(result: Run): { passed: number; failed: number } {
  const tallies = [...result.values()].flatMap((checks) => [...checks.values()]);
  const count = (status: keyof Tally): number => tallies.reduce((sum, tally) => sum + tally[status], 0);
  return { passed: count("SUCCESS"), failed: count("FAILURE") };
}

/** `scenario:check` or `scenario` → the finding. */
type Findings = ReadonlyMap<string, string>;

const say = (tally: Tally): string =>
  statuses
    .filter((status) => tally[status] > 0)
    .map((status) => `${tally[status]} ${status}`)
    .join(" ") || "absent";

/** Returns what did not pass: `scenario:check` → outcomes, or `scenario` if nothing was checked at all. */
export function faults(result: Run): Findings {
  const found = new Map<string, string>();
  for (const [scenario, checks] of result) {
    if (checks.size === 0) found.set(scenario, "nothing was checked");
    for (const [id, tally] of checks) {
      if (tally.FAILURE > 0 || tally.WARNING > 0) found.set(`${scenario}:${id}`, say(tally));
    }
  }
  return found;
}

/** Returns where two runs of the same scenarios differ: `scenario:check` → difference. */
export function differences(one: Run, other: Run): Findings {
  const found = new Map<string, string>();
  for (const scenario of new Set([...one.keys(), ...other.keys()])) {
    const [here, there] = [one.get(scenario), other.get(scenario)];
    for (const id of new Set([...(here?.keys() ?? []), ...(there?.keys() ?? [])])) {
      const [was, is] = [say(here?.get(id) ?? none), say(there?.get(id) ?? none)];
      if (was !== is) found.set(`${scenario}:${id}`, `${was} → ${is}`);
    }
  }
  return found;
}

/** `scenario` or `scenario:check` → the reason for a finding. */
export type Expected = Readonly<Record<string, string>>;

/** Returns unexpected findings and expected findings that are gone; both must be empty. */
export function judge(found: Findings, expected: Expected): { unexpected: string[]; stale: string[] } {
  const met = new Set<string>();
  const unexpected: string[] = [];
  for (const [name, how] of found) {
    const [scenario = ""] = name.split(":");
    const by = [name, scenario].find((entry) => entry in expected);
    if (by === undefined) unexpected.push(`${name}: ${how}`);
    else met.add(by);
  }
  return { unexpected, stale: Object.keys(expected).filter((entry) => !met.has(entry)) };
}

/**
 * Judges the findings of a run. The suite waits fixed times for notifications, which a busy machine may exceed, so a
 * second run decides if the first has problems.
 */
export async function judgeWithRetry(
  find: () => Promise<Findings>,
  expected: Expected,
): Promise<ReturnType<typeof judge>> {
  const { unexpected, stale } = judge(await find(), expected);
  return unexpected.length + stale.length > 0 ? judge(await find(), expected) : { unexpected, stale };
}
