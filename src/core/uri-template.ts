import { type GlobTokens, globTokens, literalTokens } from "./glob.ts";
import { maxNameLength } from "./name.ts";

/** A URI template (RFC 6570), parsed as far as matching needs: literal text with expressions in between. */
export type UriTemplate = {
  /** Whether every expression is a plain `{variable}`, whose value contains no delimiter. */
  readonly simple: boolean;
  /** The text with which every URI made from it begins. */
  readonly prefix: string;
  /** Its literal characters, with a `*` for each expression. */
  readonly tokens: GlobTokens;
  /** Reports whether it can produce the URI if each expression may expand to any text. */
  matches(uri: string): boolean;
};

/** Parses a template; unpaired braces are literal. */
export function readTemplate(text: string): UriTemplate {
  const pieces = text.split(/\{[^{}]*\}/);
  const [prefix = ""] = pieces;
  return {
    simple: !/\{[+#./;?&]/.test(text),
    prefix,
    tokens: pieces.flatMap((piece, at) => [...(at > 0 ? globTokens("*") : []), ...literalTokens(piece)]),
    // No valid URI is longer, and each would cost time with every template.
    matches: (uri) => uri.length <= maxNameLength && fits(pieces, uri),
  };
}

/** Reports whether the text contains the pieces in this order, starts with the first and ends with the last. */
function fits(pieces: readonly string[], text: string): boolean {
  const [first = ""] = pieces;
  const last = pieces.at(-1) ?? "";
  if (pieces.length === 1) return text === first;
  if (!text.startsWith(first) || !text.endsWith(last)) return false;
  const end = text.length - last.length;
  let at = first.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = text.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return at <= end;
}
