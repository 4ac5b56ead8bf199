import { expect, test } from "bun:test";
import { type Case, readReport, skipReason } from "../../scripts/lib/junit.ts";
import { checkRequirements } from "../../scripts/lib/requirements.ts";
import { type Requirement, requirements } from "../requirements.ts";

const passing = (name: string): Case => ({ name, file: "a.test.ts", seconds: 0, state: "passed" });
const proofs = Object.entries(requirements).flatMap(([id, { is }]) =>
  is.state === "open" ? [] : [passing(`${id} works`), ...is.tests.map((part) => passing(`${id} ${part}`))],
);

function problems(cases: readonly Case[], change: Record<string, Requirement> = {}): readonly string[] {
  return checkRequirements(cases, { ...requirements, ...change }).problems;
}

test("a run that proves every row is accepted", () => {
  expect(problems(proofs)).toEqual([]);
});

test("a done row without a passing test of its own id is reported", () => {
  expect(problems(proofs.filter(({ name }) => name !== "R7 works"))).toEqual([
    "R7 is done, but no passing test has its id in its name",
  ]);
  const skipped = proofs.map((one) => (one.name === "R7 works" ? { ...one, state: "skipped" as const } : one));
  expect(problems(skipped)).toHaveLength(1);
});

test("a failed test of a done row is reported even if another one passes", () => {
  expect(problems([...proofs, { ...passing("R7 more"), state: "failed" }])).toEqual([
    'R7 is done, but "R7 more" failed',
  ]);
});

test("an open row is reported if a passing test has its id", () => {
  const row: Requirement = { title: "", is: { state: "open", why: "not yet" } };
  expect(problems(proofs, { R7: row })).toEqual(['R7 is open, but "R7 works" has its id']);
  expect(
    problems(
      proofs.filter(({ name }) => name !== "R7 works"),
      { R7: row },
    ),
  ).toEqual([]);
});

test("each listed name fragment needs a passing test too", () => {
  const row: Requirement = { title: "", is: { state: "done", tests: ["both ways"] } };
  expect(problems(proofs, { R7: row })).toHaveLength(1);
  expect(problems([...proofs, passing("works both ways")], { R7: row })).toEqual([]);
});

test("missing and unknown rows are reported", () => {
  expect(problems(proofs, { R132: { title: "", is: { state: "open", why: "no" } } })).toEqual([
    "R132 is not a requirement",
  ]);
  const { R7: _, ...rest } = requirements;
  expect(checkRequirements(proofs, rest).problems).toEqual(["R7 is missing from test/requirements.ts"]);
});

test("Bun's JUnit report is read with states, describe blocks and entities", () => {
  const xml = `<testsuites name="bun test"><testsuite name="a.test.ts" file="a.test.ts">
    <testcase name="a &lt;b&gt; &quot;c&quot; &#10;" classname="outer &amp; inner" time="0.5" file="a.test.ts" />
    <testcase name="T59: x (needs foo)" classname="" time="0" file="a.test.ts">
      <skipped />
    </testcase>
    <testcase name="bad" classname="" time="0.1" file="b.test.ts"><failure type="E" message="m &gt;">text</failure></testcase>
  </testsuite></testsuites>`;
  expect(readReport(xml)).toEqual([
    { name: 'outer & inner > a <b> "c" \n', file: "a.test.ts", seconds: 0.5, state: "passed" },
    { name: "T59: x (needs foo)", file: "a.test.ts", seconds: 0, state: "skipped" },
    { name: "bad", file: "b.test.ts", seconds: 0.1, state: "failed" },
  ]);
  expect(readReport("")).toEqual([]);
});

test("the reason for a skip is read from the end of its name", () => {
  expect(skipReason("T59: x (needs systemd-analyze)")).toBe("needs systemd-analyze");
  expect(skipReason("T59: x")).toBeNull();
});
