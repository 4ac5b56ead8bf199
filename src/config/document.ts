import { LineCounter, Pair, Scalar, isAlias, isMap, isNode, isPair, isScalar, isSeq, parseDocument, visit } from "yaml";
import type { Document, Node } from "yaml";
import { messageOf } from "../core/error-text.ts";
import type { Finding, Path } from "../core/finding.ts";
import { ConfigError, type Problem, unplaced } from "./problem.ts";

/** Replaces `${…}` in a text; throws an error that names the reference if it cannot be resolved. */
export type Resolve = (text: string) => { readonly value: string; readonly secrets: readonly string[] };

type Position = { readonly line: number; readonly column: number };
type Fault = (offset: number, message: string) => Problem;

/** Returns the original text at a path if a reference in it was substituted, else null. */
export type Written = (path: Path) => string | null;

/** A parsed file, with the position and the original text of each value. */
export type Source = {
  /** Returns the plain data, with references substituted. */
  value(): unknown;
  /** Returns the position of the value at `path`, or of its key; if it is absent, of the nearest enclosing node. */
  at(path: Path, key?: boolean): Position;
  readonly written: Written;
  /** Converts a substituted scalar to the number or boolean that it looks like; returns false if it is neither. */
  retype(path: Path): boolean;
  /** Secret values, which must not be shown. */
  readonly secrets: readonly string[];
  /** References that cannot be resolved; `value()` contains them as written. */
  readonly unresolved: readonly Finding[];
};

// Nested aliases can expand a small file to a huge one.
const maxAliasCount = 100;

/** Parses YAML 1.2 or JSON and substitutes `${…}` in its scalars, never in its keys. Throws ConfigError. */
export function readSource(text: string, file: string, resolve: Resolve): Source {
  const lines = new LineCounter();
  const positionAt = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const fault: Fault = (offset, message) => ({ ...unplaced(file, message), ...positionAt(offset) });
  const doc = parse(text, lines, fault);
  const broken = [...doc.errors, ...doc.warnings].map(({ pos, code, message }) => ({ offset: pos[0], code, message }));
  if (broken.length > 0) throw new ConfigError(syntaxErrors(text, broken, fault));
  if (doc.contents === null)
    throw new ConfigError([fault(0, "the file is empty; `mcpgw init` writes a starter configuration")]);

  const { written, secrets, failed } = substitute(doc, resolve);
  expand(doc, fault);
  const found = (path: Path): Scalar | null => {
    const node = nodeAt(doc, path);
    return isScalar(node) && written.has(node) ? node : null;
  };
  return {
    value: () => expand(doc, fault),
    at: (path, key) => positionAt(offsetOf(doc, path, key ?? false)),
    written: (path) => {
      const node = found(path);
      return node && (written.get(node) ?? null);
    },
    retype: (path) => retype(found(path)),
    secrets: [...secrets],
    unresolved: failed,
  };
}

/** Returns the plain data of a file's text, with references as written. Throws ConfigError if it cannot be parsed. */
export const plainData = (text: string, file: string): unknown =>
  readSource(text, file, (value) => ({ value, secrets: [] })).value();

type SyntaxFault = { readonly offset: number; readonly code: string; readonly message: string };

/** Clearer messages by the parser's code, or by its message where one code covers several mistakes. */
const reworded: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: "this key is already set above; keep one of them",
  MULTIPLE_DOCS: "a second document (---) starts here; keep only one",
  BAD_ALIAS: 'a string that starts with * or & needs quotes: "*"',
  BAD_DQ_ESCAPE: "write a backslash twice inside double quotes: \\\\",
  BAD_SCALAR_START: "a string that starts with this character needs quotes",
  TAG_RESOLVE_FAILED: "a string that starts with ! needs quotes",
  UNEXPECTED_TOKEN:
    "unexpected here: a comma before it is missing, or a string with [ ] { } or quotes in it needs quotes",
  TAB_AS_INDENT: "tabs are not allowed as indentation; use spaces",
  BLOCK_IN_FLOW: 'inside { } and [ ], separate entries with commas, and put a string with ": " in it in quotes',
  BLOCK_AS_IMPLICIT_KEY: 'is indented too far, or is a string with ": " in it that needs quotes',
  MULTILINE_IMPLICIT_KEY: "a key needs a colon and a space after it: key: value",
  "Sequence item without - indicator": "is indented less than the entry above, or lacks the - of a separate entry",
  "All mapping items must start at the same column": "is not indented like the keys above; a - needs a space after it",
  "All sequence items must start at the same column": "is not indented like the entries above",
  "Flow map in block collection must be sufficiently indented and end with a }": "a { before this is not closed",
  "Flow sequence in block collection must be sufficiently indented and end with a ]": "a [ before this is not closed",
  "Missing , between flow map items": "a comma is missing before this",
  "Missing , or : between flow map items": "a comma or a colon is missing before this",
  'Missing closing "quote': "a quote before this is not closed",
  "Missing closing 'quote": "a quote before this is not closed",
};

/** Mistakes after which the rest of the file is still parsed correctly. */
const harmless: ReadonlySet<string> = new Set(["DUPLICATE_KEY", "BAD_ALIAS"]);

// After a structural mistake the parser reports errors for everything that follows, so only the first is reported.
function syntaxErrors(text: string, errors: readonly SyntaxFault[], fault: Fault): Problem[] {
  if (errors.some(({ message }) => /call stack/.test(message))) return [fault(0, tooDeep)];
  const reference = errors.find(({ offset }) => text.startsWith("${", offset - 1));
  if (reference) return [fault(reference.offset - 1, 'inside { } and [ ] a reference needs quotes: "${VAR}"')];
  const [first] = errors;
  return errors
    .filter((error) => error === first || harmless.has(error.code))
    .slice(0, 5)
    .map(({ offset, code, message }) => fault(offset, reworded[message] ?? reworded[code] ?? message));
}

// The parser is recursive, so thousands of nested brackets exhaust its stack.
const tooDeep = "is nested too deeply for a configuration file";

function parse(text: string, lines: LineCounter, fault: Fault): Document {
  try {
    return parseDocument(text, { lineCounter: lines, prettyErrors: false, version: "1.2", logLevel: "error" });
  } catch {
    throw new ConfigError([fault(0, tooDeep)]);
  }
}

function expand(doc: Document, fault: Fault): unknown {
  try {
    return doc.toJS({ maxAliasCount });
  } catch {
    const bare = bareGlobs(doc, fault);
    if (bare.length > 0) throw new ConfigError(bare);
    throw new ConfigError([fault(0, "its aliases (*name) expand to too much data; write the values out")]);
  }
}

/** Finds aliases without an anchor: to YAML, an unquoted glob that starts with an asterisk is an alias. */
function bareGlobs(doc: Document, fault: Fault): Problem[] {
  const found: Problem[] = [];
  visit(doc, {
    Alias(_key, node) {
      if (node.resolve(doc)) return;
      found.push(fault(node.range?.[0] ?? 0, `a string that starts with * needs quotes: "*${node.source}"`));
    },
  });
  return found;
}

type Substituted = { written: Map<Scalar, string>; secrets: Set<string>; failed: Finding[] };

function substitute(doc: Document, resolve: Resolve): Substituted {
  const result: Substituted = { written: new Map(), secrets: new Set(), failed: [] };
  visit(doc, {
    Scalar(key, node, ancestors) {
      if (key === "key" || typeof node.value !== "string" || !node.value.includes("${")) return;
      const source = node.value;
      try {
        if (source.includes("${principal.") && !inCondition(ancestors)) {
          throw new Error("${principal.…} works only in conditions, under `when`");
        }
        const resolved = resolve(source);
        if (resolved.value === source) return;
        node.value = resolved.value;
        result.written.set(node, source);
        for (const secret of resolved.secrets) result.secrets.add(secret);
      } catch (error) {
        result.failed.push({ path: pathOf(ancestors, node), message: messageOf(error) });
      }
    },
  });
  return result;
}

function inCondition(ancestors: readonly unknown[]): boolean {
  return ancestors.some((node) => isPair(node) && isScalar(node.key) && node.key.value === "when");
}

/** Returns the path of a node, given its ancestors. */
export function pathOf(ancestors: readonly unknown[], node: unknown): Path {
  const chain = [...ancestors, node];
  return chain.flatMap((item, index): PropertyKey[] => {
    if (isPair(item)) return [isScalar(item.key) ? String(item.key.value) : "?"];
    if (isSeq(item)) return [item.items.indexOf(chain[index + 1])];
    return [];
  });
}

function retype(node: Scalar | null): boolean {
  if (typeof node?.value !== "string") return false;
  if (/^(true|false)$/.test(node.value)) node.value = node.value === "true";
  else if (/^-?\d{1,15}(\.\d{1,15})?$/.test(node.value)) node.value = Number(node.value);
  else return false;
  return true;
}

function child(doc: Document, node: unknown, key: PropertyKey): Pair | Node | null {
  const here = unaliased(doc, node);
  if (isSeq(here)) return asNode(here.items[Number(key)]);
  if (!isMap(here)) return null;
  return here.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === String(key)) ?? null;
}

const asNode = (value: unknown): Node | null => (isNode(value) ? value : null);

const unaliased = (doc: Document, node: unknown): Node | null =>
  isAlias(node) ? (node.resolve(doc) ?? null) : asNode(node);

function nodeAt(doc: Document, path: Path): Node | null {
  let node: Node | null = doc.contents;
  for (const key of path) {
    const next = child(doc, node, key);
    node = isPair(next) ? asNode(next.value) : next;
  }
  return unaliased(doc, node);
}

function offsetOf(doc: Document, path: Path, key: boolean): number {
  let node: Node | null = doc.contents;
  let offset = node?.range?.[0] ?? 0;
  for (const [index, part] of path.entries()) {
    const next = child(doc, node, part);
    if (next === null) return offset;
    const keyOffset = isPair(next) ? (asNode(next.key)?.range?.[0] ?? offset) : offset;
    node = isPair(next) ? asNode(next.value) : next;
    const last = index === path.length - 1;
    offset = last && !key && node?.range ? node.range[0] : isPair(next) ? keyOffset : (node?.range?.[0] ?? keyOffset);
  }
  return offset;
}
