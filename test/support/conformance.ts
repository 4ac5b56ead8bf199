import { readdirSync, readFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { ended } from "./processes.ts";
import { linesOf } from "./seen.ts";
import { TempDir } from "./temp-dir.ts";

// The protocol's conformance suite: how it is run, and how two runs of it compare.

/** A revision whose requirements the suite has frozen. */
export type Revision = "2025-11-25" | "2026-07-28";

/** `server`: the suite is the client. `client`: the suite is the server. */
type Leg = "server" | "client";

const runner = fileURLToPath(import.meta.resolve("@modelcontextprotocol/conformance/dist/index.js"));
const fixture = join(import.meta.dir, "../fixtures/conformance/main.ts");
const driver = join(import.meta.dir, "../fixtures/conformance/driver.ts");

type Environment = Readonly<Record<string, string>>;
/** All that the suite and the fixture see of the machine; at home lies what Bun has compiled. */
const environment: Environment = { PATH: process.env["PATH"] ?? "", HOME: homedir(), TMPDIR: tmpdir() };

/** Outcomes that count; what the suite only remarks (INFO) differs from run to run. */
const statuses = ["SUCCESS", "FAILURE", "WARNING", "SKIPPED"] as const;
type Tally = Readonly<Record<(typeof statuses)[number], number>>;

/** Check id → how often it ended how; ids repeat within a scenario. */
type Checks = ReadonlyMap<string, Tally>;

/** Scenario → its checks. */
export type Run = ReadonlyMap<string, Checks>;

export type Fixture = AsyncDisposable & { readonly url: string };

/** The conformance fixture, of both eras or of one, ready. */
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

/** What stands for a scenario that ended in an error of the runner's, which leaves no checks behind. */
const thrown: Checks = new Map([["thrown", { ...none, FAILURE: 1 }]]);

/** Runs all that a revision requires, and what the suite adds unscored, against a server. */
export const runServer = (url: string, revision: Revision): Promise<Run> => run("server", ["--url", url], revision);

/** The same for the client that `desk` stands for; scenarios wait there for their turn, so they get long. */
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

/** Reads what the runner left: a directory for each scenario, `[server-]NAME-TIME`, where NAME may hold a slash. */
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

/** The scenarios of a leg that belong to a revision, scored or not. */
function scenariosOf(leg: Leg, revision: Revision): readonly string[] {
  const file = join(dirname(runner), "../requirements", `${revision}.yaml`);
  // The file is the suite's own, and its form is pinned with its version.
  const sets = parse(readFileSync(file, "utf8")) as Record<Leg, string[]> & {
    not_scored: { scenario: string; leg: Leg }[];
  };
  return [...sets[leg], ...sets.not_scored.filter((one) => one.leg === leg).map(({ scenario }) => scenario)];
}

/** How many checks passed and failed, as the suite counts them. */
export function totals(result: Run): { passed: number; failed: number } {
  const tallies = [...result.values()].flatMap((checks) => [...checks.values()]);
  const count = (status: keyof Tally): number => tallies.reduce((sum, tally) => sum + tally[status], 0);
  return { passed: count("SUCCESS"), failed: count("FAILURE") };
}

/** `scenario:check` or `scenario` → what is remarkable about it. */
type Findings = ReadonlyMap<string, string>;

const say = (tally: Tally): string =>
  statuses
    .filter((status) => tally[status] > 0)
    .map((status) => `${tally[status]} ${status}`)
    .join(" ") || "absent";

/** What did not pass: `scenario:check` → how, or `scenario` where nothing was checked at all. */
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

/** Where two runs of the same scenarios differ: `scenario:check` → how. */
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

/** `scenario` or `scenario:check` → why it is as it is. */
export type Expected = Readonly<Record<string, string>>;

/** What is found but not expected, and what is expected but no longer found; both must be empty. */
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
 * Judges what a run finds. The suite waits fixed times for what it is to be told, which a busy machine may exceed: of
 * what is wrong in one run, a second decides.
 */
export async function judgeTwice(find: () => Promise<Findings>, expected: Expected): Promise<ReturnType<typeof judge>> {
  const { unexpected, stale } = judge(await find(), expected);
  return unexpected.length + stale.length > 0 ? judge(await find(), expected) : { unexpected, stale };
}
