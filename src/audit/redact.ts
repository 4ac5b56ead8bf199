import { canonicalString } from "../core/canonical.ts";
import { commit } from "./chain.ts";
import { maskPaths, type MaskPath } from "./mask-paths.ts";
import type { AuditOptions } from "./options.ts";

/** Bytes of a payload that are stored. */
export const partBytes = 64 * 1024;
// What is looked at beyond the stored bytes, so that a secret across the edge is still seen whole.
const slack = 4 * 1024;
const saltBytes = 32;

/** One payload ready to be recorded. `sealed` is null in mode `none`. */
export type Part = {
  /** True length in bytes. */
  readonly length: number;
  readonly cut: boolean;
  readonly sealed: { readonly commitment: string; readonly salt: Uint8Array; readonly body: string } | null;
};

export type Redactor = {
  /** Masks, cuts and commits to one payload. */
  part(kind: "args" | "result", text: string): Part;
  /** Masks known secrets and credential patterns in any other text. */
  text(text: string): string;
};

/**
 * Masks come before any hash: what is committed to is what is stored. Known secrets and configured paths are masked in
 * every mode, credential patterns in all but `full`. `secrets` yields the values known now.
 */
export function createRedactor(
  options: Pick<AuditOptions, "payloads" | "redact">,
  secrets: () => readonly string[],
): Redactor {
  const paths = { args: pathsOf(options.redact, "args"), result: pathsOf(options.redact, "result") };
  const salt = createSalts();
  const { payloads: mode } = options;

  return {
    part(kind, text) {
      const length = Buffer.byteLength(text);
      if (mode === "none") return { length, cut: false, sealed: null };
      const window = text.length > partBytes + slack ? text.slice(0, partBytes + slack) : text;
      const known = maskKnown(maskPaths(window, paths[kind]), secrets());
      const masked = mode === "full" ? known : maskPatterns(known);
      const stored = cutBytes(masked.isWellFormed() ? masked : masked.toWellFormed());
      const cut = stored.length < masked.length || window.length < text.length;
      const key = salt();
      return {
        length,
        cut,
        sealed: { commitment: commit(key, stored), salt: key, body: mode === "digest" ? "" : stored },
      };
    },
    text: (text) => maskPatterns(maskKnown(text, secrets())),
  };
}

/** Salts are drawn in blocks: one call of the generator for each would cost more than the hash. */
function createSalts(): () => Uint8Array {
  const block = new Uint8Array(256 * saltBytes);
  let at = block.length;
  return () => {
    if (at === block.length) {
      crypto.getRandomValues(block);
      at = 0;
    }
    at += saltBytes;
    return block.slice(at - saltBytes, at);
  };
}

function pathsOf(configured: readonly string[], part: string): MaskPath[] {
  return configured.map((path) => path.split(".")).flatMap(([first, ...rest]) => (first === part ? [rest] : []));
}

/** At most `partBytes` of UTF-8, no character torn. */
function cutBytes(text: string): string {
  if (text.length * 3 <= partBytes || Buffer.byteLength(text) <= partBytes) return text;
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(partBytes));
  return text.slice(0, read);
}

const mark = "[redacted]";

function maskKnown(text: string, secrets: readonly string[]): string {
  let out = text.includes("\\u00") || text.includes("\\/") ? unescapeAscii(text) : text;
  for (const secret of secrets) {
    if (out.includes(secret)) out = out.replaceAll(secret, mark);
    const escaped = canonicalString(secret).slice(1, -1);
    if (escaped !== secret && out.includes(escaped)) out = out.replaceAll(escaped, mark);
  }
  return out;
}

function maskPatterns(text: string): string {
  return text.replace(credentials, mark).replace(labelled, `$1"${mark}"`);
}

// Otherwise \u0067hp_… would hide a token from the patterns; quote and backslash keep their escape.
function unescapeAscii(text: string): string {
  return text.replace(/\\(?:u00([2-7][0-9a-fA-F])|.)/gs, (whole, hex?: string) => {
    if (whole === "\\/") return "/";
    const char = hex === undefined ? whole : String.fromCharCode(Number.parseInt(hex, 16));
    return char === '"' || char === "\\" || char === "\x7f" ? whole : char;
  });
}

// Each alternative starts at the edge of a word, so that every character is looked at a bounded number of times.
const credentials = new RegExp(
  [
    String.raw`(?<![\w-])(?:mgw_[A-Za-z0-9_]{16,}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}` +
      String.raw`|xox[abeoprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|npm_[A-Za-z0-9]{30,}` +
      String.raw`|(?:sk|rk|pk)[-_][\w-]{16,}|eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*)`,
    String.raw`(?<=\b(?:Bearer|Basic|bearer|basic) )[\w.~+/=-]{8,}`,
    String.raw`(?<=:\/\/[^\s/:@"]{0,200}:)[^\s/:@"]{1,200}(?=@)`,
    String.raw`-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[^]*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|$)`,
  ].join("|"),
  "g",
);
const labelled =
  /("(?:[\w-]{0,40}[_-])?(?:password|passwd|passphrase|secret|token|api[_-]?key|apikey|authorization|private[_-]?key|access[_-]?key)"\s{0,8}:\s{0,8})"(?:[^"\\]|\\.)*(?:"|$)/gis;
