import { createHash } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { capture } from "./capture.ts";

export const root = join(import.meta.dir, "../..");
const dist = join(root, "dist");
export const binary = join(dist, "mcpgw");

const targets = [
  "linux-x64",
  "linux-arm64",
  "linux-x64-musl",
  "linux-arm64-musl",
  "darwin-x64",
  "darwin-arm64",
] as const;

// ink imports this package for its debugger, which this program never starts and does not ship.
const withoutDevtools: Bun.BunPlugin = {
  name: "without-devtools",
  setup(build) {
    build.onResolve({ filter: /^react-devtools-core$/ }, () => ({ path: "react-devtools-core", namespace: "absent" }));
    build.onLoad({ filter: /.*/, namespace: "absent" }, () => ({ contents: "export default {};", loader: "js" }));
  },
};

/** Returns the entry file and the Workers it names: the executable contains a Worker only if it is an entry point. */
async function entries(): Promise<string[]> {
  const main = join(root, "src/main.ts");
  const workers = (await Bun.file(main).text()).matchAll(/new URL\("(\.[^"]+)", import\.meta\.url\)/g);
  return [main, ...Array.from(workers, ([, path = ""]) => join(root, "src", path))];
}

/** Compiles the program to `outfile`, for this machine or for `target`; the file appears complete or not at all. */
export async function compile(outfile: string, target?: Bun.Build.CompileTarget): Promise<void> {
  const fresh = `${outfile}.${process.pid}`;
  const built = await Bun.build({
    entrypoints: await entries(),
    root: join(root, "src"),
    // The program must not run code or read settings from the current directory.
    compile: { outfile: fresh, autoloadDotenv: false, autoloadBunfig: false, ...(target && { target }) },
    minify: { whitespace: true, syntax: true, identifiers: true, keepNames: true },
    bytecode: true,
    // A command loads only its own chunk, for a faster start and less memory.
    splitting: true,
    format: "esm",
    define: { "process.env.NODE_ENV": '"production"' },
    plugins: [withoutDevtools],
    throw: false,
  });
  if (!built.success) {
    await rm(fresh, { force: true });
    throw new Error(`the build of ${outfile} failed\n${built.logs.map(({ message }) => message).join("\n")}`);
  }
  await rename(fresh, outfile);
}

/** Whether a source of the checkout is newer than its dist/mcpgw, or dist/mcpgw does not exist. */
export function stale(checkout = root): boolean {
  const changed = (path: string): number => statSync(join(checkout, path)).mtimeMs;
  if (!existsSync(join(checkout, "dist/mcpgw"))) return true;
  // Folders count too: a deleted source changes only the time of its folder.
  const sources = new Bun.Glob("src/**/*").scanSync({ cwd: checkout, onlyFiles: false });
  const built = changed("dist/mcpgw");
  return ["package.json", "bun.lock", "scripts/lib/build.ts", "src", ...sources].some((path) => changed(path) > built);
}

/** Builds dist/mcpgw if it is stale. Returns its path. */
export async function ensureBinary(): Promise<string> {
  await mkdir(dist, { recursive: true });
  if (stale()) await compile(binary);
  return binary;
}

/** Returns the output of a binary's `--version`, or why it cannot run here. */
async function tryVersion(file: string): Promise<{ version: string } | { why: string }> {
  try {
    const { out, err, code } = await capture([file, "--version"], { timeout: 20_000 });
    if (code === 0) return { version: out.trim() };
    return { why: `exit code ${code}: ${err.trim().slice(0, 200)}` };
  } catch (error) {
    return { why: error instanceof Error ? error.message : String(error) };
  }
}

/** Whether a target's binary must run on this machine, so that it is broken if it does not. */
function isNative(name: string): boolean {
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  const musl = process.platform === "linux" && !report.header?.glibcVersionRuntime ? "-musl" : "";
  return name === `${process.platform}-${process.arch}${musl}`;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of Bun.file(path).stream()) hash.update(chunk);
  return hash.digest("hex");
}

/**
 * Builds the binary of every target with `build`, and SHA256SUMS. Resolves to false if the binary for this machine does
 * not run.
 */
export async function buildAll(into = dist, build = compile): Promise<boolean> {
  const sums: string[] = [];
  const untested: string[] = [];
  let broken = false;
  for (const name of targets) {
    const file = `mcpgw-${name}`;
    await build(join(into, file), `bun-${name}`);
    const tried = await tryVersion(join(into, file));
    if ("version" in tried) console.log(`${file}: runs, version ${tried.version}`);
    else if (isNative(name)) broken = true;
    if ("why" in tried) {
      untested.push(file);
      console.log(`${file}: built, not run here (${tried.why})`);
    }
    sums.push(`${await sha256(join(into, file))}  ${file}\n`);
  }
  await Bun.write(join(into, "SHA256SUMS"), sums.join(""));
  console.log(`SHA256SUMS: ${sums.length} binaries; untested: ${untested.join(", ") || "none"}`);
  return !broken;
}

async function main(flags: readonly string[]): Promise<number> {
  const odd = flags.find((flag) => flag !== "--all");
  if (odd !== undefined) {
    console.error(`scripts/build: unknown argument ${odd}; the only argument is --all`);
    return 2;
  }
  await mkdir(dist, { recursive: true });
  await compile(binary);
  const tried = await tryVersion(binary);
  if ("why" in tried) {
    console.error(`dist/mcpgw does not run here: ${tried.why}`);
    return 1;
  }
  console.log(`dist/mcpgw: version ${tried.version}`);
  return flags.includes("--all") && !(await buildAll()) ? 1 : 0;
}

if (import.meta.main) {
  process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  });
}
