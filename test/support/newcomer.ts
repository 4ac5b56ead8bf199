import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { ended } from "./processes.ts";
import { everythingCommand } from "./sdk-servers.ts";
import { TempDir } from "./temp-dir.ts";
import { until } from "./until.ts";

const project = join(import.meta.dir, "../..");

const words = (command: readonly string[]): string => command.map((word) => `'${word}'`).join(" ");

/** A fresh checkout with its packages, on a machine without Bun whose npx has the official test server. */
export class Newcomer extends TempDir {
  readonly root = this.path("checkout");
  readonly home = this.path("home");
  readonly env: Readonly<Record<string, string>>;

  constructor() {
    super();
    const bin = this.path("bin");
    for (const directory of [this.root, this.home, bin]) mkdirSync(directory);
    this.#checkOut();
    this.#tools(bin);
    this.env = {
      PATH: bin,
      HOME: this.home,
      TERM: "xterm",
      STATE_DIRECTORY: `${join(this.home, "mcpgw")}:${join(this.home, "mcpgw-heads")}`,
    };
  }

  #checkOut(): void {
    const copy = `git ls-files -co --exclude-standard | while IFS= read -r file; do [ -e "$file" ] && echo "$file"; done |
      tar cf - -T - | tar xf - -C ${words([this.root])} &&
      { cp -al node_modules ${words([this.root])} 2>/dev/null || cp -a node_modules ${words([this.root])}; }`;
    const { exitCode, stderr } = Bun.spawnSync(["sh", "-c", copy], { cwd: project });
    if (exitCode !== 0) throw new Error(`the checkout could not be copied: ${stderr.toString()}`);
    // What scripts/bun fetches once through npm if there is no Bun.
    const tools = join(this.root, ".tools", `bun-${Bun.version}`, "node_modules/bun/bin");
    mkdirSync(tools, { recursive: true });
    symlinkSync(process.execPath, join(tools, "bun.exe"));
  }

  /** Creates a directory with all commands of this machine except Bun's, and an npx that needs no network. */
  #tools(bin: string): void {
    const taken = new Set(["bun", "bunx", "npx"]);
    for (const directory of (process.env["PATH"] ?? "").split(delimiter).filter(existsSync)) {
      for (const name of readdirSync(directory)) {
        if (!taken.has(name)) symlinkSync(join(directory, name), join(bin, name));
        taken.add(name);
      }
    }
    writeFileSync(join(bin, "npx"), `#!/bin/sh\nexec ${words(everythingCommand("stdio"))}\n`);
    chmodSync(join(bin, "npx"), 0o755);
  }

  /** Runs a shell command to its end. */
  async sh(script: string, { cwd = this.root, env = {} }: { cwd?: string; env?: Record<string, string> } = {}) {
    const child = Bun.spawn(["sh", "-c", script], {
      cwd,
      env: { ...this.env, ...env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    return ended(child);
  }

  /** Runs a command in its own terminal. */
  terminal(...command: string[]): Terminal {
    return new Terminal(command, { cwd: this.root, env: { ...this.env } });
  }
}

/** A command in a terminal, with everything that it has printed. */
export class Terminal {
  text = "";
  readonly #child: Bun.Subprocess;

  constructor(command: string[], options: { cwd: string; env: Record<string, string> }) {
    const decoder = new TextDecoder();
    const data = (_: unknown, chunk: Uint8Array): void => {
      this.text += decoder.decode(chunk, { stream: true }).replaceAll("\r\n", "\n");
    };
    this.#child = Bun.spawn(command, { ...options, terminal: { cols: 400, rows: 50, data } });
  }

  shows(text: string, ms = 60_000): Promise<unknown> {
    const seen = () => {
      if (this.text.includes(text)) return true;
      if (this.#child.exitCode === null) return false;
      throw new Error(`ended with ${this.#child.exitCode} before it showed "${text}":\n${this.text}`);
    };
    return until(seen, `the terminal to show "${text}"`, ms);
  }

  press(keys: string): void {
    this.#child.terminal?.write(keys);
  }

  get ended(): Promise<number> {
    return this.#child.exited;
  }
}

/** Returns the code blocks of a language in a Markdown file, under one heading or in all of it. */
export function blocks(file: string, language: string, heading?: string): string[] {
  const text = readFileSync(join(project, file), "utf8");
  const from = heading === undefined ? 0 : text.indexOf(`\n## ${heading}\n`);
  if (from < 0) throw new Error(`${file} has no heading "${heading}"`);
  const end = heading === undefined ? -1 : text.indexOf("\n## ", from + 1);
  const part = text.slice(from, end < 0 ? undefined : end);
  return Array.from(part.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm), ([, name, body = ""]) => [name, body] as const)
    .filter(([name]) => name === language)
    .map(([, body]) => body);
}
