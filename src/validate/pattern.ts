import { compilePattern, maxSource, type Pattern } from "../core/pattern.ts";

// White space as JSON Schema defines it (that of ECMAScript), for a character class; RE2 only knows ASCII white space.
// It ends in a class, since a `-` after a single character would start a range.
const space = "\\t-\\r\\x{feff}\\p{Z}";

function withSpaces(source: string): string {
  let inClass = false;
  return source.replaceAll(/\\.|[[\]]/gs, (part) => {
    if (part === "[" || part === "]") inClass = part === "[";
    if (part === "\\s") return inClass ? space : `[${space}]`;
    // Inside a class, the complement has no short form, so RE2's own stays.
    return part === "\\S" && !inClass ? `[^${space}]` : part;
  });
}

/** Compiles a schema's pattern, with ASCII white space if the full set is too large; null as `compilePattern`. */
export function compileSchemaPattern(source: string): Pattern | null {
  const spaced = withSpaces(source);
  return compilePattern(spaced) ?? (spaced === source ? null : compilePattern(source));
}

// About half a second for the most expensive patterns; enough for a hundred of typical length.
const maxCompiling = 8000;

/** Estimates the cost of compiling: the length, or more without case, where character classes take long. */
function costOf(source: string): number {
  if (source.length > maxSource) return 0;
  return 50 + source.length * (/\(\?\w*i/.test(source) ? 10 : 1);
}

/**
 * Reports which patterns of one schema can be compiled. Each is tried once, and none after they have taken too long
 * together, since nothing else runs in the meantime.
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
