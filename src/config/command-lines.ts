import type { Path } from "../core/finding.ts";
import type { Report } from "./problem.ts";
import type { Config } from "./schema.ts";

const secret = /(?<!\$)\$\{(?:file|credential):/;
const variable = /(?<!\$)\$\{[A-Za-z_]/;
const seen = "stands in the list of processes, which everybody on this host can read";

/** The text as it stands in the file where something in it was substituted, else null. */
export type Written = (path: Path) => string | null;

/** References in what a process is started with, which is no place for secrets. */
export function commandLines({ servers }: Config, report: Report, written: Written): void {
  for (const [index, server] of servers.entries()) {
    if (!("command" in server)) continue;
    const places: Path[] = [["command"], ...server.args.keys().map((at) => ["args", at])];
    const found = places.map((place) => {
      const path: Path = ["servers", index, ...place];
      return { path, text: written(path) ?? "" };
    });
    for (const { path, text } of found) {
      if (secret.test(text)) report.problem(path, `a secret here ${seen}; give it in env`);
    }
    const doubtful = found.find(({ text }) => !secret.test(text) && variable.test(text));
    if (doubtful) report.warn(doubtful.path, `the value of a variable here ${seen}; give it in env if it is a secret`);
  }
}
