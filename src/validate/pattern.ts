import { compilePattern, maxSource, type Pattern } from "../core/pattern.ts";

// White space as JSON Schema means it, for a character class: that of ECMAScript. RE2 knows only that of ASCII. It ends
// in a class, since a `-` after a single character would begin a range.
const space = "\\t-\\r\\x{feff}\\p{Z}";

function withSpaces(source: string): string {
  let inClass = false;
  return source.replaceAll(/\\.|[[\]]/gs, (part) => {
    if (part === "[" || part === "]") inClass = part === "[";
    if (part === "\\s") return inClass ? space : `[${space}]`;
    // Within a class the complement has no short form, so RE2's own stays.
    return part === "\\S" && !inClass ? `[^${space}]` : part;
  });
}

/**
 * Compiles a pattern of a schema; null as `compilePattern`. Where all white space would be too much, that of ASCII
 * does.
 */
export function compileSchemaPattern(source: string): Pattern | null {
  const spaced = withSpaces(source);
  return compilePattern(spaced) ?? (spaced === source ? null : compilePattern(source));
}

// About half a second for the worst, and a hundred of usual length.
const maxCompiling = 8000;

/** Like the length of a source, but for one that takes no account of case, where classes of characters take long. */
function costOf(source: string): number {
  if (source.length > maxSource) return 0;
  return 50 + source.length * (/\(\?\w*i/.test(source) ? 10 : 1);
}

/**
 * Tells of the patterns of one schema which can be compiled. Each is tried once, and none after they took too long
 * together: nothing else works meanwhile.
 */
export function createUsable(): (source: string) => boolean {
  const known = new Map<string, boolean>();
  let left = maxCompiling;
  const judge = (source: string): boolean => {
    left -= costOf(source);
    return left >= 0 && compileSchemaPattern(source) !== null;
  };
  return (source) => known.getOrInsertComputed(source, judge);
}
