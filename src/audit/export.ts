import { canonical, type Json } from "../core/canonical.ts";
import type { AuditRow, PayloadRow } from "../core/store.ts";
import { scan, type ScanLimits } from "../mcp/scan.ts";
import { hashText } from "./chain.ts";
import { type ChainReport, commits, payloadFault, Verifier, type VerifyOptions } from "./verify.ts";

/** One line of an export. It can be verified alone, and together with the lines around it. */
export function exportLine(chain: string, row: AuditRow, payloads: readonly PayloadRow[] | null): string {
  const shown = payloads?.map(({ part, salt, body }) => ({ body, part, salt: hashText(salt) }));
  const tail = shown && shown.length > 0 ? `,"payloads":${JSON.stringify(shown)}` : "";
  return `{"chain":${JSON.stringify(chain)},"leaf":"${hashText(row.leaf)}","seq":${row.seq},"rec":${row.rec}${tail}}`;
}

/**
 * Verifies lines of an export, grouped by chain; `optionsFor` returns the evidence from outside for a chain. A line
 * that is no record makes the report "unreadable".
 */
export async function verifyLines(
  lines: AsyncIterable<string> | Iterable<string>,
  optionsFor: (chain: string) => Promise<VerifyOptions>,
): Promise<ChainReport[]> {
  const parts = new Map<string, Part>();
  let number = 0;
  for await (const line of lines) {
    number += 1;
    if (line.trim() === "") continue;
    const parsed = parseLine(line);
    const chain = parsed?.chain ?? parts.keys().next().value ?? "main";
    const part = parts.get(chain) ?? new Part({ ...(await optionsFor(chain)), partial: true });
    parts.set(chain, part);
    if (!parsed) part.fail({ seq: null, kind: "unreadable", detail: `line ${number} is no exported record` });
    else part.take(parsed);
  }
  return [...parts.values()].map((part) => part.report());
}

/** What of a chain was exported: with all payloads or with none. Two exports that were put together may have some. */
class Part extends Verifier {
  #hasPayloads = false;
  /** Records that lack their payloads. */
  #lacking = 0;
  #firstLacking = 0;

  take({ row, payloads }: Line): void {
    if (!this.push(row)) return;
    if (payloads) {
      this.#hasPayloads = true;
      const fault = payloadFault(row.rec, payloads);
      if (fault) this.fail({ seq: row.seq, kind: "payload", detail: fault });
    } else if (commits(row.rec) && this.#lacking++ === 0) this.#firstLacking = row.seq;
  }

  override report(): ChainReport {
    const found = super.report();
    const notes = [...found.notes];
    // The gateway goes on signing while the file and the checkpoints are fetched.
    if (found.bad?.kind === "truncated")
      notes.push("an export that is older than the checkpoint ends early too: export again, then verify that");
    if (this.#hasPayloads && this.#lacking > 0) {
      const those = `${this.#lacking}, the first is record ${this.#firstLacking}`;
      notes.push(`records whose payloads are not in it, though those of others are: ${those}`);
    }
    return { ...found, notes };
  }
}

const anySize: ScanLimits = { depth: Infinity, nodes: Infinity };

type Line = { readonly chain: string; readonly row: AuditRow; readonly payloads: PayloadRow[] | null };

function parseLine(line: string): Line | null {
  try {
    // Of a member that stands there twice, other readers may see the other one.
    scan(line, anySize);
    const { chain, seq, leaf, rec, payloads } = JSON.parse(line) as ExportedLine; // whatever is wrong in it throws here
    const row = { seq: of("number", seq), rec: canonical(rec), leaf: bytesOf(leaf) };
    const parts = payloads?.map(({ part, salt, body }) => {
      return { seq, part, salt: bytesOf(salt), body: of("string", body) };
    });
    return { chain: of("string", chain), row, payloads: parts ?? null };
  } catch {
    return null;
  }
}

function of<T>(type: "number" | "string", value: T): T {
  // Of the same text as a number or in an array, others may make something else.
  if (typeof value !== type) throw new TypeError(`no ${type}`);
  return value;
}

type ExportedLine = {
  chain: string;
  seq: number;
  leaf: string;
  rec: Json;
  payloads?: { part: PayloadRow["part"]; salt: string; body: string }[];
};

function bytesOf(text: string): Uint8Array {
  const bytes = Uint8Array.fromBase64(text, { alphabet: "base64url" });
  // The last character has unused bits, so several texts stand for the same bytes; only one is accepted.
  if (hashText(bytes) !== text) throw new SyntaxError("not canonical base64url");
  return bytes;
}
