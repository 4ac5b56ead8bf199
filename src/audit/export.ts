import { canonical, type Json } from "../core/canonical.ts";
import type { AuditRow, PayloadRow } from "../core/store.ts";
import { scan, type ScanLimits } from "../mcp/scan.ts";
import { hashText } from "./chain.ts";
import { type ChainReport, commits, payloadFault, Verifier, type VerifyOptions } from "./verify.ts";

/** Returns one line of an export, which can be verified alone and together with the lines around it. */
export function exportLine(chain: string, row: AuditRow, payloads: readonly PayloadRow[] | null): string {
  const shown = payloads?.map(({ part, salt, body }) => ({ body, part, salt: hashText(salt) }));
  const tail = shown && shown.length > 0 ? `,"payloads":${JSON.stringify(shown)}` : "";
  return `{"chain":${JSON.stringify(chain)},"leaf":"${hashText(row.leaf)}","seq":${row.seq},"rec":${row.rec}${tail}}`;
}

/** Verifies the lines of an export by chain; a line that is not a record makes the report "unreadable". */
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
    if (!parsed) part.fail({ seq: null, kind: "unreadable", detail: `line ${number} is not an exported record` });
    else part.take(parsed);
  }
  return [...parts.values()].map((part) => part.report());
}

/** The exported part of a chain, with all payloads or none. Two exports concatenated may have some. */
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
    // The gateway keeps signing while the file and the checkpoints are fetched.
    if (found.bad?.kind === "truncated")
      notes.push("an export older than the checkpoint also ends early; export again and verify the new export");
    if (this.#hasPayloads && this.#lacking > 0) {
      const those = `${this.#lacking}, the first is record ${this.#firstLacking}`;
      notes.push(
        `records whose payloads are missing from the export, although it has the payloads of others: ${those}`,
      );
    }
    return { ...found, notes };
  }
}

const anySize: ScanLimits = { depth: Infinity, nodes: Infinity };

type Line = { readonly chain: string; readonly row: AuditRow; readonly payloads: PayloadRow[] | null };

function parseLine(line: string): Line | null {
  try {
    // If a member occurs twice, other readers may see the other value.
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
  // Other readers may interpret a number or an array with the same text differently.
  if (typeof value !== type) throw new TypeError(`not a ${type}`);
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
