import { resolve } from "node:path";
import { isCredential } from "../core/credential-patterns.ts";
import type { Finding, Path } from "../core/finding.ts";
import type { Written } from "./document.ts";
import type { Report } from "./problem.ts";
import type { Config } from "./schema.ts";

const secret = /(?<!\$)\$\{(?:file|credential):/;
const variable = /(?<!\$)\$\{[A-Za-z_]/;
const seen = "is visible in the process list, which every user of this host can read";

/** Reports secrets and references to them in command lines, which other users can read. */
export function commandLines({ servers }: Config, report: Report, written: Written): void {
  for (const [index, server] of servers.entries()) {
    if (!("command" in server)) continue;
    const args = server.args.map((value, at) => ({ option: ["args", at], value }));
    const found = [{ option: ["command"], value: server.command }, ...args].map(({ option, value }) => {
      const path: Path = ["servers", index, ...option];
      return { path, value, text: written(path) ?? "" };
    });
    for (const { path, text } of found) {
      if (secret.test(text)) report.problem(path, `a secret here ${seen}; pass it in env`);
    }
    const doubtful = found.find(({ text }) => !secret.test(text) && variable.test(text));
    if (doubtful) report.warn(doubtful.path, `the value of a variable here ${seen}; pass it in env if it is a secret`);
    const plain = found.find(({ value, text }) => text === "" && isCredential("", value));
    if (plain) report.warn(plain.path, `a secret in plain text here ${seen}; pass it in env as \${VAR}`);
  }
}

type Program = Extract<Config["servers"][number], { readonly command: string }>;

/** Returns the directory and PATH in which a server's program is searched. */
const placeOf = ({ cwd, env }: Program, directory: string) => ({
  cwd: resolve(directory, cwd ?? "."),
  ...(env["PATH"] !== undefined && { PATH: env["PATH"] }),
});

/** Finds programs that this process cannot find; the gateway may run on another machine or with another PATH. */
export function missingPrograms({ servers }: Config, directory: string): Finding[] {
  return servers.flatMap((server, index): Finding[] => {
    if (!("command" in server) || !server.enabled) return [];
    const { command, env } = server;
    if (Bun.which(command, placeOf(server, directory)) !== null) return [];
    const whose = env["PATH"] === undefined ? "this process" : "its env";
    const where = command.includes("/") ? "" : ` in the PATH of ${whose}`;
    const message = `program ${command} not found${where}; install it, or write the path of its file`;
    return [{ path: ["servers", index, "command"], message }];
  });
}

/** Finds commands that include arguments: no shell splits them, so the whole text is taken as the program name. */
export function programsWithArguments({ servers }: Config, directory: string): Finding[] {
  return servers.flatMap((server, index): Finding[] => {
    if (!("command" in server)) return [];
    const { command } = server;
    const [program = "", ...args] = command.trim().split(/\s+/);
    const where = placeOf(server, directory);
    if (args.length === 0 || Bun.which(command, where) !== null) return [];
    // A path with spaces may name a file that this machine lacks, unless its first word is a program here.
    if (program.includes("/") && Bun.which(program, where) === null) return [];
    const message = `program not found; write its arguments separately: command: ${program}, args: [...]`;
    return [{ path: ["servers", index, "command"], message }];
  });
}
