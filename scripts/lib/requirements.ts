import { type Requirement, requirements } from "../../test/requirements.ts";
import type { Case } from "./junit.ts";

const rows = 131;

/** The errors of the table as shown by a run's tests, one sentence each, and the number of rows by state. */
export type Verdict = { readonly problems: readonly string[]; readonly summary: string };

function carries(name: string, id: string): boolean {
  return new RegExp(`\\b${id}\\b`).test(name);
}

function checkDone(id: string, fragments: readonly string[], cases: readonly Case[]): string[] {
  const own = cases.filter(({ name }) => carries(name, id));
  const problems: string[] = [];
  if (!own.some(({ state }) => state === "passed"))
    problems.push(`${id} is done, but no passing test has its id in its name`);
  for (const { name } of own.filter(({ state }) => state === "failed")) {
    problems.push(`${id} is done, but "${name}" failed`);
  }
  for (const fragment of fragments) {
    if (cases.some(({ name, state }) => state === "passed" && name.includes(fragment))) continue;
    problems.push(`${id} is done by "${fragment}", but no passing test has this in its name`);
  }
  return problems;
}

function checkRow(id: string, { is }: Requirement, cases: readonly Case[]): string[] {
  if (is.state === "done") return checkDone(id, is.tests, cases);
  return is.why === "" ? [`${id} is open and does not say why`] : checkOpen(id, cases);
}

/** Reports a passing test with the id of an open row: either the row is done, or the test's name promises too much. */
function checkOpen(id: string, cases: readonly Case[]): string[] {
  const proof = cases.find(({ name, state }) => state === "passed" && carries(name, id));
  return proof ? [`${id} is open, but "${proof.name}" has its id`] : [];
}

/** Checks that the table has every row, and that this run proves each row that is done. */
export function checkRequirements(
  cases: readonly Case[],
  table: Readonly<Record<string, Requirement>> = requirements,
): Verdict {
  const expected = Array.from({ length: rows }, (_, index) => `R${index + 1}`);
  const problems = [
    ...expected.filter((id) => !(id in table)).map((id) => `${id} is missing from test/requirements.ts`),
    ...Object.keys(table)
      .filter((id) => !expected.includes(id))
      .map((id) => `${id} is not a requirement`),
    ...Object.entries(table).flatMap(([id, row]) => checkRow(id, row, cases)),
  ];
  const count = (state: string): number => Object.values(table).filter(({ is }) => is.state === state).length;
  return {
    problems,
    summary: `requirements: ${count("done")} done, ${count("open")} open`,
  };
}
