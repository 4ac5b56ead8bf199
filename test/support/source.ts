import { relative } from "node:path";
import { type Node, type SourceFile, SyntaxKind } from "typescript/unstable/ast";
import { API } from "typescript/unstable/async";
import type { FileSystem } from "typescript/unstable/fs";

/** One reference to another module: static, re-export, `import()` or `import("…")` in a type. */
export type Import = {
  readonly from: string;
  readonly line: number;
  readonly dynamic: boolean;
  readonly type: boolean;
};

/** A finding at a line: a function with its length, a forbidden construct, a member of the global `Bun`. */
type Spot = { readonly what: string; readonly line: number; readonly lines: number };

/** What the architecture rules check in one file. `path` is relative to the project's root. */
export type Source = {
  readonly path: string;
  readonly text: string;
  readonly lines: number;
  readonly imports: readonly Import[];
  readonly functions: readonly Spot[];
  /** Enums, namespaces and the type `any`. */
  readonly constructs: readonly Spot[];
  /** `Bun.spawn` and similar. */
  readonly globals: readonly Spot[];
  /** Exported functions without a doc comment. */
  readonly undocumented: readonly Spot[];
};

const functionKinds: ReadonlySet<SyntaxKind> = new Set([
  SyntaxKind.FunctionDeclaration,
  SyntaxKind.FunctionExpression,
  SyntaxKind.ArrowFunction,
  SyntaxKind.MethodDeclaration,
  SyntaxKind.Constructor,
  SyntaxKind.GetAccessor,
  SyntaxKind.SetAccessor,
]);

const constructKinds: ReadonlyMap<SyntaxKind, string> = new Map([
  [SyntaxKind.EnumDeclaration, "enum"],
  [SyntaxKind.ModuleDeclaration, "namespace"],
  [SyntaxKind.AnyKeyword, "any"],
]);

// The syntax forms that refer to a module, and whether they are dynamic. The specifier is the only string literal among
// a form's own children, or one level down for `import("…")` types.
const importKinds: ReadonlyMap<SyntaxKind, { dynamic: boolean }> = new Map([
  [SyntaxKind.ImportDeclaration, { dynamic: false }],
  [SyntaxKind.ExportDeclaration, { dynamic: false }],
  [SyntaxKind.ImportType, { dynamic: false }],
  [SyntaxKind.CallExpression, { dynamic: true }],
]);

function children(node: Node): Node[] {
  const found: Node[] = [];
  node.forEachChild((child) => void found.push(child));
  return found;
}

function specifier(node: Node, file: SourceFile): string | null {
  const own = children(node);
  if (node.kind === SyntaxKind.CallExpression && own[0]?.kind !== SyntaxKind.ImportKeyword) return null;
  const near = node.kind === SyntaxKind.ImportType ? own.flatMap((child) => [child, ...children(child)]) : own;
  const text = near.find(({ kind }) => kind === SyntaxKind.StringLiteral)?.getText(file);
  return text === undefined ? null : text.slice(1, -1);
}

function isType(node: Node, file: SourceFile): boolean {
  return node.kind === SyntaxKind.ImportType || /^(import|export)\s+type\b/.test(node.getText(file));
}

/** Returns the name of an exported function, or of a constant that is one; null for any other statement. */
function exportedFunction(node: Node, file: SourceFile): string | null {
  const [, name] = /^export (?:async function\*?|function\*?|const) (\w+)/.exec(node.getText(file)) ?? [];
  if (name === undefined || node.kind === SyntaxKind.FunctionDeclaration) return name ?? null;
  const values = children(node).flatMap(children).flatMap(children);
  return values.some(({ kind }) => kind === SyntaxKind.ArrowFunction || kind === SyntaxKind.FunctionExpression)
    ? name
    : null;
}

const hasDoc = (node: Node, file: SourceFile): boolean =>
  file.text.slice(node.pos, node.getStart(file)).includes("/**");

function read(file: SourceFile, path: string): Source {
  const imports: Import[] = [];
  const functions: Spot[] = [];
  const constructs: Spot[] = [];
  const globals: Spot[] = [];
  const undocumented: Spot[] = [];
  const lineAt = (position: number): number => file.getLineAndCharacterOfPosition(position).line + 1;
  const visit = (node: Node): void => {
    const line = lineAt(node.getStart(file));
    const spot = (what: string): Spot => ({ what, line, lines: lineAt(node.end) - line + 1 });
    const form = importKinds.get(node.kind);
    const from = form ? specifier(node, file) : null;
    if (form && from !== null) imports.push({ from, line, dynamic: form.dynamic, type: isType(node, file) });
    const construct = constructKinds.get(node.kind);
    if (construct) constructs.push(spot(construct));
    const name = node.parent === file ? exportedFunction(node, file) : null;
    if (name !== null && !hasDoc(node, file)) undocumented.push(spot(name));
    if (functionKinds.has(node.kind)) functions.push(spot("function"));
    if (node.kind === SyntaxKind.PropertyAccessExpression && /^Bun\.\w+$/.test(node.getText(file))) {
      globals.push(spot(node.getText(file)));
    }
    node.forEachChild(visit);
  };
  visit(file);
  const lines = file.text.split("\n").length - (file.text.endsWith("\n") ? 1 : 0);
  return { path, text: file.text, lines, imports, functions, constructs, globals, undocumented };
}

/** Parses every file of the project at `root` according to its tsconfig.json; `fs` replaces the disk. */
export async function readSources(root: string, fs?: FileSystem): Promise<Source[]> {
  const api = new API({ cwd: root, ...(fs && { fs }) });
  try {
    const config = `${root}/tsconfig.json`;
    const snapshot = await api.updateSnapshot({ openProjects: [config] });
    const program = snapshot.getProject(config)?.program;
    if (!program) throw new Error(`${config} could not be loaded`);
    const names = (await program.getSourceFileNames()).filter(
      (name) => name.startsWith(`${root}/`) && !name.includes("/node_modules/") && /\.tsx?$/.test(name),
    );
    const files = await Promise.all(names.map((name) => program.getSourceFile(name)));
    return files.flatMap((file) => (file ? [read(file, relative(root, file.fileName))] : []));
  } finally {
    await api.close();
  }
}
