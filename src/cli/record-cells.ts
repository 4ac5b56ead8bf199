import { clock, date, latency } from "../control/format.ts";
import { because, ending, subject, toneOf } from "../control/present.ts";
import type { AuditEntry } from "../control/schemas.ts";
import { type Cell, right, toneColors, whole } from "./output.ts";

/** Returns the table cells of one record; `dated` adds the date, for lists that span days. */
export function cells(entry: AuditEntry, dated: boolean): Cell[] {
  const ms = Math.floor(entry.at / 1_000);
  const status = ending(entry);
  return [
    { text: dated ? `${date(ms)} ${clock(ms)}` : clock(ms), color: "dim", lastWord: true },
    whole(entry.consumer ?? entry.caller ?? "-"),
    { text: subject(entry), color: "cyan" },
    { text: status, color: toneColors[toneOf(status)] },
    right(latency(entry.us)),
    whole(because(entry)),
  ];
}
