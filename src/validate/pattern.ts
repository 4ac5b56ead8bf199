import { compilePattern, type Pattern } from "../core/pattern.ts";

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
  return compilePattern(withSpaces(source)) ?? compilePattern(source);
}
