/** One test of a run, from Bun's JUnit report. */
export type Case = {
  readonly name: string;
  readonly file: string;
  readonly seconds: number;
  readonly state: "passed" | "failed" | "skipped";
};

const entities: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function decode(text: string): string {
  return text.replace(/&(?:#(\d+)|#x([0-9a-fA-F]+)|(\w+));/g, (whole, decimal, hex, name) => {
    if (decimal) return String.fromCodePoint(Number(decimal));
    if (hex) return String.fromCodePoint(Number.parseInt(hex, 16));
    return entities[name] ?? whole;
  });
}

function attribute(tag: string, name: string): string {
  return decode(new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1] ?? "");
}

/** Reads the subset of JUnit XML that `bun test` writes; names begin with their describe blocks. */
export function readReport(xml: string): Case[] {
  return Array.from(xml.matchAll(/<testcase\b([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g), ([, tag = "", body = ""]) => ({
    name: [attribute(tag, "classname"), attribute(tag, "name")].filter(Boolean).join(" > "),
    file: attribute(tag, "file"),
    seconds: Number(attribute(tag, "time")),
    state: /<(failure|error)\b/.test(body) ? "failed" : /<skipped\b/.test(body) ? "skipped" : "passed",
  }));
}

/** Returns what a skipped test needs, from the ending `(needs …)` of its name; null if there is none. */
export function skipReason(name: string): string | null {
  return /\((needs [^()]+)\)$/.exec(name)?.[1] ?? null;
}
