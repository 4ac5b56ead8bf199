import { dirname, join, normalize } from "node:path";
import type { Import, Source } from "./source.ts";

// The architecture as data, and the checks of its rules on a set of sources.

/** Folder of src → level; an import points only to a lower level, and never to the same one. */
const levels: Readonly<Record<string, number>> = {
  core: 0,
  mcp: 1,
  authn: 2,
  policy: 2,
  limits: 2,
  validate: 2,
  audit: 2,
  usage: 2,
  secrets: 2,
  catalog: 2,
  session: 2,
  seal: 2,
  upstream: 2,
  store: 2,
  config: 3,
  gateway: 4,
  control: 4,
  serve: 5,
  daemon: 6,
  cli: 6,
  tui: 6,
  web: 6,
  builtin: 6,
  "main.ts": 7,
};

/** What code above level 2 may import from it: the longest matching prefix decides; without one, nothing. */
const seams: Readonly<Record<string, readonly RegExp[]>> = {
  "src/config/": [/\/options\.ts$/],
  "src/gateway/build.ts": [/./],
  "src/serve/": [/^src\/session\//, /^src\/audit\/session-name/],
  "src/daemon/": [
    /^src\/(authn|audit|limits|seal|secrets|session|store|usage)\//,
    /^src\/(upstream\/process\/previous-run|policy\/findings)/,
  ],
  "src/daemon/housekeeper.ts": [/^src\/(store|usage|audit)\//],
  "src/cli/": [/^src\/audit\/verify/],
  "src/tui/": [/^src\/audit\/verify/],
  "src/web/": [/^src\/audit\/verify/],
};

/** Folders above level 2 that may import only these folders of the levels from 3 up. */
const audiences: Readonly<Record<string, readonly string[]>> = {
  cli: ["config", "control"],
  tui: ["config", "control"],
  web: ["config", "control"],
};

/** Package or built-in module → its home, the only paths in src that may import it. */
export const owners: Readonly<Record<string, RegExp>> = {
  "@modelcontextprotocol/sdk": /^src\/(builtin\/|upstream\/transports\/sse)/,
  ajv: /^src\/validate\//,
  citty: /^src\/(cli\/|main\.ts$)/,
  "decimal.js": /^src\/builtin\//,
  ink: /^src\/tui\//,
  re2js: /^src\/core\/pattern\.ts$/,
  react: /^src\/tui\//,
  yaml: /^src\/config\//,
  zod: /^src\/(.+\/options\.ts$|config\/|control\/)/,
  "bun:ffi": /^src\/core\/libc\.ts$/,
  "bun:sqlite": /^src\/store\//,
};

/** Member of the global `Bun` → its home in src. */
const globals: Readonly<Record<string, RegExp>> = {
  "Bun.spawn": /^src\/(upstream\/(process|transports)\/|main\.ts$)/,
  "Bun.spawnSync": /^src\/main\.ts$/,
  "Bun.SQL": /^src\/store\//,
};

export const maxFileLines = 400;
export const maxFunctionLines = 60;

const inSrc = (path: string): boolean => path.startsWith("src/");
const folder = (path: string): string => path.split("/")[1] ?? "";
const level = (path: string): number => levels[folder(path)] ?? Number.NaN;
const at = (source: Source, { line }: { line: number }, what: string): string => `${source.path}:${line}: ${what}`;

/** Returns the file of src that an import refers to; null for packages. */
function target(source: Source, one: Import): string | null {
  return one.from.startsWith(".") ? normalize(join(dirname(source.path), one.from)) : null;
}

function eachImport(sources: readonly Source[], judge: (source: Source, one: Import) => string | null): string[] {
  return sources
    .filter(({ path }) => inSrc(path))
    .flatMap((source) =>
      source.imports.flatMap((one) => {
        const wrong = judge(source, one);
        return wrong === null ? [] : [at(source, one, wrong)];
      }),
    );
}

/** Finds files of src in a folder without a level. */
export function unknownFolders(sources: readonly Source[]): string[] {
  return sources
    .filter(({ path }) => inSrc(path) && Number.isNaN(level(path)))
    .map(({ path }) => `${path}: ${folder(path)} has no level`);
}

/** Finds imports that do not point to a lower level, or leave src. */
export function upwardImports(sources: readonly Source[]): string[] {
  return eachImport(sources, (source, one) => {
    const to = target(source, one);
    if (to === null) return null;
    if (!inSrc(to)) return to === "package.json" ? null : `imports ${to}, outside src`;
    if (folder(to) === folder(source.path) || level(to) < level(source.path)) return null;
    return `imports ${to}, which is not at a lower level`;
  });
}

function sees(path: string): readonly RegExp[] {
  const [longest] = Object.keys(seams)
    .filter((prefix) => path.startsWith(prefix))
    .toSorted((a, b) => b.length - a.length);
  return longest === undefined ? [] : (seams[longest] ?? []);
}

/** Finds imports of level 2 from above, except by the code that composes it. */
export function brokenSeams(sources: readonly Source[]): string[] {
  return eachImport(sources, (source, one) => {
    const to = target(source, one);
    if (to === null || level(to) !== 2 || level(source.path) <= 2 || folder(source.path) === "main.ts") return null;
    return sees(source.path).some((form) => form.test(to)) ? null : `may not import ${to}`;
  });
}

/** Finds imports of upper levels by folders that may reach the daemon only through control. */
export function wrongAudience(sources: readonly Source[]): string[] {
  return eachImport(sources, (source, one) => {
    const to = target(source, one);
    const allowed = audiences[folder(source.path)];
    if (to === null || !allowed || level(to) < 3 || folder(to) === folder(source.path)) return null;
    return allowed.includes(folder(to)) ? null : `may not import ${to}`;
  });
}

/** Returns the package of a specifier: `zod`, `@scope/name`, `bun:sqlite`; null for relative paths and `node:`. */
function packageOf(from: string): string | null {
  if (from.startsWith(".") || from.startsWith("node:") || from === "bun") return null;
  return from
    .split("/")
    .slice(0, from.startsWith("@") ? 2 : 1)
    .join("/");
}

/** Finds packages and globals used outside their home, and packages without a home. */
export function strayPackages(sources: readonly Source[]): string[] {
  const stray = sources
    .filter(({ path }) => inSrc(path))
    .flatMap((source) =>
      source.globals
        .filter(({ what }) => globals[what]?.test(source.path) === false)
        .map((spot) => at(source, spot, `${spot.what} is used outside its home`)),
    );
  const imports = eachImport(sources, (source, one) => {
    if (one.from === "node:child_process" || one.from === "node:sqlite") return `imports ${one.from}; use Bun's own`;
    const name = packageOf(one.from);
    if (name === null || owners[name]?.test(source.path)) return null;
    return owners[name] ? `${name} is used outside its home` : `${name} has no home`;
  });
  return [...stray, ...imports];
}

/** Finds import paths that do not name a file, and modules that re-export others. */
export function wrongSpecifiers(sources: readonly Source[]): string[] {
  const paths = eachImport(sources, (_, one) =>
    one.from.startsWith(".") && !/\.(tsx?|json|html|css)$/.test(one.from)
      ? `"${one.from}" has no file extension`
      : null,
  );
  const barrels = sources
    .filter(({ path, text }) => inSrc(path) && /^export \*/m.test(text))
    .map(({ path }) => `${path}: re-exports a whole module`);
  return [...paths, ...barrels];
}

/** Finds static imports in main.ts, which must load what it runs by `import()` so that a command loads only itself. */
export function eagerEntry(sources: readonly Source[]): string[] {
  return eachImport(sources, (source, one) => {
    const to = target(source, one);
    if (source.path !== "src/main.ts" || to === null || one.dynamic || one.type || level(to) <= 0) return null;
    return folder(to) === "package.json" || !inSrc(to) ? null : `loads ${to} before the command is known`;
  });
}

/** Returns import cycles, each once, as `a → b → a`. */
export function cycles(sources: readonly Source[]): string[] {
  const graph = new Map(
    sources.map((source) => [source.path, source.imports.flatMap((one) => target(source, one) ?? [])] as const),
  );
  const found: string[] = [];
  const state = new Map<string, "open" | "closed">();
  const visit = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === "closed") return;
    if (state.get(path) === "open") {
      found.push([...trail.slice(trail.indexOf(path)), path].join(" → "));
      return;
    }
    state.set(path, "open");
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    state.set(path, "closed");
  };
  for (const path of graph.keys()) visit(path, []);
  return found;
}

/** Returns the inner folder of a file that is deeper than a folder of src. */
const inner = (path: string): string | null => /^src\/[^/]+\/[^/]+(?=\/)/.exec(path)?.[0] ?? null;

/** Finds imports from one inner folder to another that lead back to it; files next to both may be above or below. */
export function folderCycles(sources: readonly Source[]): string[] {
  const edges = new Map<string, Set<string>>();
  const crossing = (source: Source, one: Import): readonly [from: string, to: string] | null => {
    const [from, to] = [inner(source.path), inner(target(source, one) ?? "")];
    return from === null || to === null || from === to ? null : [from, to];
  };
  const leads = (from: string, to: string, seen: Set<string>): boolean => {
    if (from === to) return true;
    if (seen.has(from)) return false;
    seen.add(from);
    return [...(edges.get(from) ?? [])].some((next) => leads(next, to, seen));
  };
  for (const source of sources) {
    for (const one of source.imports) {
      const [from, to] = crossing(source, one) ?? [];
      if (from && to) edges.set(from, (edges.get(from) ?? new Set()).add(to));
    }
  }
  return eachImport(sources, (source, one) => {
    const [from, to] = crossing(source, one) ?? [];
    return from && to && leads(to, from, new Set()) ? `imports ${to}, which leads back to ${from}` : null;
  });
}

/** Finds files over the limit anywhere, and functions over theirs outside tests (where `describe` is one). */
export function tooLong(sources: readonly Source[]): string[] {
  return sources.flatMap((source) => [
    ...(source.lines > maxFileLines ? [`${source.path}: ${source.lines} lines`] : []),
    ...(source.path.startsWith("test/") ? [] : source.functions)
      .filter(({ lines }) => lines > maxFunctionLines)
      .map((spot) => at(source, spot, `a function of ${spot.lines} lines`)),
  ]);
}

// Split so that this file does not find itself.
const leftovers = new RegExp(
  ["TO" + "DO", "FIX" + "ME", "XX" + "X", "(ox|es)lint-dis" + "able", "@ts-(ig" + "nore|nocheck)"].join("|"),
);

/** Finds constructs that the compiler does not erase, `any`, silenced checks and notes of unfinished work. */
export function forbidden(sources: readonly Source[]): string[] {
  return sources.flatMap((source) => [
    ...source.constructs.map((spot) => at(source, spot, spot.what)),
    ...source.text.split("\n").flatMap((text, index) => {
      const hit = leftovers.exec(text);
      return hit ? [`${source.path}:${index + 1}: ${hit[0]}`] : [];
    }),
  ]);
}

/** Finds exported functions of src without a doc comment. */
export function withoutContract(sources: readonly Source[]): string[] {
  return sources
    .filter(({ path }) => inSrc(path))
    .flatMap((source) => source.undocumented.map((spot) => at(source, spot, `${spot.what} has no doc comment`)));
}

/** Finds file names that are not lower-case words joined by hyphens. */
export function oddNames(sources: readonly Source[]): string[] {
  return sources
    .map(({ path }) => path)
    .filter((path) => !/^[a-z0-9-]+$/.test(path.replace(/^.*\//, "").replace(/(\.test)?\.tsx?$/, "")));
}
