import { maskPatterns } from "../core/credential-patterns.ts";
import { maskSpelled, spellingsOf } from "../core/secret.ts";
import type { Payload } from "../core/store.ts";
import { cutBytes } from "../core/text.ts";
import { commitmentTo, saltBytes } from "./chain.ts";
import { maskPath, maskPaths, type MaskPath } from "./mask-paths.ts";
import type { AuditOptions } from "./options.ts";

/** Maximum number of bytes of a payload that are stored. */
export const partBytes = 64 * 1024;
// Minimum number of characters examined beyond the stored bytes, to see secrets across the edge whole.
const minSlack = 4 * 1024;

/** One payload ready to be recorded. `sealed` is null in mode `none`. */
type Part = {
  /** Full length in bytes. */
  readonly length: number;
  readonly cut: boolean;
  readonly sealed: Sealed | null;
};

/** A payload as stored, with the commitment to it that goes into the record. */
type Sealed = Payload & { readonly commitment: string };

export type Redactor = {
  readonly mode: AuditOptions["payloads"];
  /** Masks, cuts and commits to one payload; `nested` is for the arguments of a call within a call. */
  part(kind: "args" | "result", text: string, nested?: boolean): Part;
  /** Masks known secrets and credential patterns in any other text. */
  text(text: string): string;
};

/**
 * Creates a redactor, which masks before anything is hashed: the commitment covers the text as stored. Known secrets
 * and configured paths are masked in every mode, credential patterns in every mode except `full`.
 */
export function createRedactor(
  options: Pick<AuditOptions, "payloads" | "redact">,
  secrets: () => readonly string[],
): Redactor {
  const args = pathsOf(options.redact, "args");
  const results = pathsOf(options.redact, "result");
  // A finished task holds the result of its call.
  const paths = {
    args,
    nested: [...args, ...within("arguments", args)],
    result: [...results, ...within("result", results)],
  };
  const salt = createSalts();
  const known = (): readonly string[] => spellingsOf(secrets());
  const { payloads: mode } = options;

  return {
    mode,
    part(kind, text, nested = false) {
      const length = Buffer.byteLength(text);
      if (mode === "none") return { length, cut: false, sealed: null };
      const values = known();
      const slack = Math.max(minSlack, values[0]?.length ?? 0);
      const window = text.length > partBytes + slack ? text.slice(0, partBytes + slack) : text;
      const plain = maskSpelled(maskPaths(window, paths[nested ? "nested" : kind]), values);
      const all = mode === "full" ? plain : maskPatterns(plain);
      // Half a secret at the end of the window matches nothing, and is stored if masks shortened the text before it.
      const masked = window.length < text.length ? all.slice(0, -slack) : all;
      const stored = cutBytes(masked.isWellFormed() ? masked : masked.toWellFormed(), partBytes);
      const cut = stored.length < masked.length || window.length < text.length;
      const key = salt();
      const body = mode === "digest" ? "" : stored;
      return { length, cut, sealed: { part: kind, salt: key, body, commitment: commitmentTo(key, stored) } };
    },
    text: (text) => maskPatterns(maskSpelled(text, known())),
  };
}

/** Draws salts in blocks: one call of the generator per salt would cost more than the hash. */
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
  return configured
    .map((path) => path.split("."))
    .flatMap(([first, ...rest]) => (first === part ? [maskPath(rest)] : []));
}

const within = (member: string, paths: readonly MaskPath[]): MaskPath[] =>
  paths.map((path) => [...maskPath([member]), ...path]);
