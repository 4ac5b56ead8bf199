import { expect, test } from "bun:test";
import { join } from "node:path";
import { createVirtualFileSystem } from "typescript/unstable/fs";
import * as rules from "./support/rules.ts";
import { readSources } from "./support/source.ts";

const root = join(import.meta.dir, "..");
const sources = await readSources(root);

const checks = {
  "every folder has a level": rules.unknownFolders,
  "imports point to a lower level": rules.upwardImports,
  "only the code that composes level 2 imports it": rules.brokenSeams,
  "the command line and consoles import only control and config": rules.wrongAudience,
  "packages and globals are used only in their homes": rules.strayPackages,
  "imports name files, and no module re-exports another": rules.wrongSpecifiers,
  "the entry loads commands on demand": rules.eagerEntry,
  "no import cycles": rules.cycles,
  "no import cycles between the folders of a folder": rules.folderCycles,
  "files and functions stay within their size limits": rules.tooLong,
  "no enum, namespace, any, silenced check or unfinished work": rules.forbidden,
  "exported functions have a doc comment": rules.withoutContract,
  "file names are lower-case words joined by hyphens": rules.oddNames,
} as const;

for (const [name, check] of Object.entries(checks)) {
  test(`architecture: ${name}`, () => expect(check(sources)).toEqual([]));
}

test("architecture: the scan reads every file of src, test and scripts", () => {
  const onDisk = [...new Bun.Glob("{src,test,scripts}/**/*.{ts,tsx}").scanSync(root)];
  const seen = sources.map(({ path }) => path);
  expect(seen.toSorted()).toEqual(onDisk.toSorted());
  expect(sources.reduce((sum, { functions }) => sum + functions.length, 0)).toBeGreaterThan(200);
});

test("architecture: every dependency has a home, and every home belongs to a dependency", async () => {
  const { dependencies } = await Bun.file(join(root, "package.json")).json();
  const homes = Object.keys(rules.owners).filter((name) => !name.startsWith("bun:"));
  expect(homes.toSorted()).toEqual(Object.keys(dependencies).toSorted());
});

const long = (lines: number): string => `export function f() {\n${"  f();\n".repeat(lines - 2)}}\n`;

// Each planted file breaks one rule, in each form that the scan must recognize.
const plants: Readonly<Record<keyof typeof checks, Readonly<Record<string, string>>>> = {
  "every folder has a level": { "src/utils/x.ts": "" },
  "imports point to a lower level": {
    "src/core/a.ts": 'import { x } from "../mcp/b.ts";',
    "src/core/b.ts": 'import type { x } from "../mcp/b.ts";',
    "src/core/c.ts": 'export const c = () => import("../mcp/b.ts");',
    "src/core/d.ts": 'export type D = import("../mcp/b.ts").X;',
    "src/core/e.ts": 'export { x } from "../mcp/b.ts";',
    "src/core/f.ts": 'import "../mcp/b.ts";',
    "src/policy/g.ts": 'import { x } from "../audit/options.ts";',
    "src/control/h.ts": 'import { x } from "../gateway/handle.ts";',
    "src/core/i.ts": 'import { x } from "../../test/support/until.ts";',
  },
  "only the code that composes level 2 imports it": {
    "src/config/a.ts": 'import { x } from "../audit/chain.ts";',
    "src/gateway/handle.ts": 'import { x } from "../policy/decide.ts";',
    "src/control/b.ts": 'import { x } from "../store/open.ts";',
    "src/cli/c.ts": 'import { x } from "../audit/chain.ts";',
    "src/daemon/housekeeper.ts": 'import { x } from "../authn/keyring.ts";',
  },
  "the command line and consoles import only control and config": {
    "src/cli/a.ts": 'import { x } from "../gateway/build.ts";',
    "src/tui/b.ts": 'import { x } from "../serve/http.ts";',
  },
  "packages and globals are used only in their homes": {
    "src/core/a.ts": 'import { z } from "zod";',
    "src/mcp/b.ts": 'import x from "left-pad";',
    "src/mcp/c.ts": 'import { Database } from "bun:sqlite";',
    "src/mcp/d.ts": 'import x from "@modelcontextprotocol/sdk/client/index.js";',
    "src/mcp/e.ts": 'Bun.spawn(["x"]);',
    "src/mcp/f.ts": 'import { spawn } from "node:child_process";',
  },
  "imports name files, and no module re-exports another": {
    "src/core/a.ts": 'import { x } from "./b";',
    "src/core/b.ts": 'export * from "./c.ts";',
  },
  "the entry loads commands on demand": { "src/main.ts": 'import { x } from "./daemon/run.ts";' },
  "no import cycles": {
    "src/core/a.ts": 'import type { b } from "./b.ts";',
    "src/core/b.ts": 'import { c } from "./c.ts";',
    "src/core/c.ts": 'import { a } from "./a.ts";',
  },
  "no import cycles between the folders of a folder": {
    "src/core/one/a.ts": 'import { b } from "../two/b.ts";',
    "src/core/two/c.ts": 'import type { d } from "../three/d.ts";',
    "src/core/three/e.ts": 'export const e = () => import("../one/f.ts");',
  },
  "files and functions stay within their size limits": {
    "src/core/a.ts": long(rules.maxFunctionLines + 1),
    "src/core/b.ts": "export const b = 1;\n".repeat(rules.maxFileLines + 1),
    "src/core/c.ts": `export const c = {\n  m() {\n${"    f();\n".repeat(rules.maxFunctionLines)}  },\n};\n`,
    "src/core/d.ts": `export const d = () => {\n${"  f('}');\n".repeat(rules.maxFunctionLines)}};\n`,
  },
  "no enum, namespace, any, silenced check or unfinished work": {
    "src/core/a.ts": "export enum A {}",
    "src/core/b.ts": "export namespace B {}",
    "src/core/c.ts": "export type C = any[];",
    "src/core/d.ts": `// ${"TO" + "DO"}: later`,
    "src/core/e.ts": `// ${"oxlint-dis" + "able"} no-console`,
    "src/core/f.ts": `// ${"@ts-ig" + "nore"}`,
  },
  "exported functions have a doc comment": {
    "src/core/a.ts": "export function a() {}",
    "src/core/b.ts": "export const b = () => {};",
    "src/core/c.ts": "/** Another. */\nconst c = 1;\n// No contract.\nexport async function d() {}",
    "src/core/d.ts": "export const d = async function () {};",
  },
  "file names are lower-case words joined by hyphens": { "src/core/apiKey.ts": "" },
};

const tsconfig = JSON.stringify({ compilerOptions: { noLib: true, noResolve: true, types: [] }, include: ["src"] });

for (const [name, files] of Object.entries(plants)) {
  test(`architecture: a violation is found: ${name}`, async () => {
    const fs = createVirtualFileSystem({
      "/plan/tsconfig.json": tsconfig,
      ...Object.fromEntries(Object.entries(files).map(([path, text]) => [`/plan/${path}`, text])),
    });
    const planted = await readSources("/plan", fs);
    expect(planted).toHaveLength(Object.keys(files).length);
    const found = checks[name as keyof typeof checks](planted).join("\n");
    // A cycle is reported once for all its files.
    for (const path of Object.keys(files)) expect(found).toContain(path);
  });
}

test("architecture: a file at the limits passes", async () => {
  const fs = createVirtualFileSystem({
    "/plan/tsconfig.json": tsconfig,
    "/plan/src/core/a.ts": long(rules.maxFunctionLines),
    "/plan/src/core/b.ts": "export const b = 1;\n".repeat(rules.maxFileLines),
  });
  expect(rules.tooLong(await readSources("/plan", fs))).toEqual([]);
});
