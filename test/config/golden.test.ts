import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, formatProblem } from "../../src/config/problem.ts";
import { loadText } from "../support/config.ts";

const directory = join(import.meta.dir, "../golden/config");
const line = "----------\n";

/** Returns what an operator sees of a configuration: each problem or, if there is none, each warning. */
function report(text: string): string {
  const show = (problem: Parameters<typeof formatProblem>[0]): string => formatProblem(problem, "/etc/mcpgw");
  try {
    const { warnings } = loadText(text);
    return warnings.map((warning) => `warning: ${show(warning)}\n`).join("");
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((problem) => `${show(problem)}\n`).join("");
  }
}

for (const name of readdirSync(directory)) {
  test(`FIELD T2 golden: ${name}`, () => {
    const text = readFileSync(join(directory, name), "utf8");
    const at = text.indexOf(line);
    expect(report(text.slice(0, at))).toBe(text.slice(at + line.length));
  });
}
