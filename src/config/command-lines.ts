import { resolve } from "node:path";
import { isCredential } from "../core/credential-patterns.ts";
import type { Finding, Path } from "../core/finding.ts";
import type { Written } from "./document.ts";
import type { Report } from "./problem.ts";
import type { Config } from "./schema.ts";

const secret = /(?<!\$)\$\{(?:file|credential):/;
const variable = /(?<!\$)\$\{[A-Za-z_]/;
const seen = "stands in the list of processes, which everybody on this host can read";

/** References and secrets in what a process is started with, which is no place for secrets. */
export function commandLines({ servers }: Config, report: Report, written: Written): void {
  for (const [index, server] of servers.entries()) {
    if (!("command" in server)) continue;
    const args = server.args.map((value, at) => ({ option: ["args", at], value }));
    const found = [{ option: ["command"], value: server.command }, ...args].map(({ option, value }) => {
      const path: Path = ["servers", index, ...option];
      return { path, value, text: written(path) ?? "" };
    });
    for (const { path, text } of found) {
      if (secret.test(text)) report.problem(path, `a secret here ${seen}; give it in env`);
    }
    const doubtful = found.find(({ text }) => !secret.test(text) && variable.test(text));
    if (doubtful) report.warn(doubtful.path, `the value of a variable here ${seen}; give it in env if it is a secret`);
    const plain = found.find(({ value, text }) => text === "" && isCredential("", value));
    if (plain) report.warn(plain.path, `a secret in plain text here ${seen}; give it in env as \${VAR}`);
  }
}

type Program = Extract<Config["servers"][number], { readonly command: string }>;

/** Where a program of a server is looked for. */
const placeOf = ({ cwd, env }: Program, directory: string) => ({
  cwd: resolve(directory, cwd ?? "."),
  ...(env["PATH"] !== undefined && { PATH: env["PATH"] }),
});

/** Programs that this process cannot find. The gateway may run on another machine, or with another PATH. */
export function missingPrograms({ servers }: Config, directory: string): Finding[] {
  return servers.flatMap((server, index): Finding[] => {
    if (!("command" in server) || !server.enabled) return [];
    const { command, env } = server;
    if (Bun.which(command, placeOf(server, directory)) !== null) return [];
    const whose = env["PATH"] === undefined ? "this process" : "its env";
    const where = command.includes("/") ? "" : ` in the PATH of ${whose}`;
    const message = `there is no program ${command}${where}; install it, or name the path of its file`;
    return [{ path: ["servers", index, "command"], message }];
  });
}

/** Programs that are named together with their arguments, which no shell takes apart: no file has such a name. */
export function programsWithArguments({ servers }: Config, directory: string): Finding[] {
  return servers.flatMap((server, index): Finding[] => {
    if (!("command" in server)) return [];
    const { command } = server;
    const [program = "", ...args] = command.trim().split(/\s+/);
    const where = placeOf(server, directory);
    if (args.length === 0 || Bun.which(command, where) !== null) return [];
    // What begins as a path may be the name of a file that this machine lacks, which only its program would disprove.
    if (program.includes("/") && Bun.which(program, where) === null) return [];
    const message = `there is no such program; its arguments are given apart: command: ${program}, args: [...]`;
    return [{ path: ["servers", index, "command"], message }];
  });
}
