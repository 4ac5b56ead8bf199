import type { Prefix } from "../core/options.ts";
import { canonicalName, separator, splitCanonical } from "../core/name.ts";
import { invisible } from "../core/text.ts";

/** A server, and whether its names are prefixed with its id. */
export type NamedServer = { readonly id: string; readonly prefix: Prefix };

/** An item that needs a name or URI on the wire. */
export type Candidate = { readonly server: string; readonly prefix: Prefix; readonly name: string };

/** A name on the wire, or the reason why there is none. */
export type Named = string | Why;

/** Why an item is not offered: `reason` for operators, `told` for callers, who must not learn about hidden items. */
export type Why = { readonly reason: string; readonly told: string };

const hashLength = 8;

// Letters of other scripts that look like Latin ones: pairs of the look-alike and the Latin letter.
const lookAlikes = new Map(
  `аa еe оo рp сc уy хx іi јj ѕs ԁd һh кk мm тt вb нh гr ӏl ԛq ԝw αa οo ρp νv ιi κk τt υu χx εe ηn γy ıi ɑa ɡg`
    .split(" ")
    .map(([from = "", to = ""]) => [from, to]),
);
const lookAlike = new RegExp(`[${[...lookAlikes.keys()].join("")}]`, "gu");
/** Number of characters of a name that are compared by appearance: more than anybody is shown. */
const looked = 128;

/** Returns the skeleton of a name. Neither people nor models can distinguish two names with the same skeleton. */
export function skeleton(name: string): string {
  if (/^[ -~]*$/.test(name)) return name.toLowerCase();
  const visible = name.replace(invisible, "");
  const start = visible.slice(0, looked).normalize("NFKC").toLowerCase();
  return start.replace(lookAlike, (char) => lookAlikes.get(char) ?? char) + visible.slice(looked);
}

/** Restricts a name to the characters that all clients accept. */
const clean = (name: string): string => name.replace(/[^A-Za-z0-9_-]/gu, "_");

/**
 * Fits a name into `max` characters that all clients accept. A changed name carries a hash of the canonical name, so
 * that it does not depend on what else is loaded.
 */
export function fitName(base: string, canonical: string, max: number): string {
  const cleaned = clean(base);
  if (cleaned === base && base.length <= max) return base;
  const hash = Bun.SHA256.hash(canonical, "hex").slice(0, hashLength);
  return `${cleaned.slice(0, max - hashLength - 1)}_${hash}`;
}

/** Returns the name prefixed with its server. */
export const fullName = (server: string, name: string): string => `${server}${separator}${name}`;

/** Returns the other server whose prefix a bare name seems to carry, as is or on the wire; null if there is none. */
export function impersonated({ server, name }: Omit<Candidate, "prefix">, servers: readonly string[]): string | null {
  const cleaned = clean(name);
  // The hash of a changed name follows an underscore.
  const looks = [skeleton(name), skeleton(cleaned === name ? name : `${cleaned}_`)];
  const poses = (each: string): boolean => looks.some((look) => look.startsWith(`${each}${separator}`));
  return servers.find((each) => each !== server && poses(each)) ?? null;
}

// Uses the bare name if there is no conflict. Tools with `prefix: none` count in a conflict too.
function baseNames(candidates: readonly Candidate[], servers: readonly string[]): Map<Candidate, string> {
  const bases = new Map(
    candidates.map((each) => [each, each.prefix === "none" ? each.name : fullName(each.server, each.name)]),
  );
  const bare = candidates.filter((each) => each.prefix !== "always");
  for (const group of Map.groupBy(bare, (each) => skeleton(each.name)).values()) {
    const [only] = group;
    if (only && group.length === 1 && !impersonated(only, servers)) bases.set(only, only.name);
  }
  return bases;
}

/** An item that cannot be distinguished from others: up to three of them, and whether several servers are involved. */
type Clash<T> = { readonly one: T; readonly others: string; readonly ofSeveral: boolean };

/** Finds items with the same key. No wire name may lead to any of them, since it is arbitrary which one comes first. */
export function clashes<T extends { readonly canonical: string }>(all: readonly T[], keyOf: (one: T) => string) {
  return [...Map.groupBy(all, keyOf).values()].flatMap((group): Clash<T>[] => {
    if (group.length === 1) return [];
    // Computed once per group: a server may list thousands of items that look alike.
    const names = [...new Set(group.map(({ canonical }) => canonical))];
    const ofSeveral = new Set(names.map((name) => splitCanonical(name)?.server)).size > 1;
    const first = names.slice(0, 4);
    return group.map((one) => {
      const others = first.filter((each) => each !== one.canonical).slice(0, 3);
      return { one, others: others.join(", ") || "another entry of the same server", ofSeveral };
    });
  });
}

/**
 * Gives each candidate its wire name; none if names collide or look alike. `servers` includes those that list nothing
 * now, since their names are still reserved.
 */
export function assignNames(
  candidates: readonly Candidate[],
  servers: readonly string[],
  max: number,
): Map<Candidate, Named> {
  const bases = baseNames(candidates, servers);
  const named = new Map<Candidate, Named>();
  const open: { candidate: Candidate; canonical: string; base: string; wire: string }[] = [];
  for (const [candidate, base] of bases) {
    const other = base === candidate.name ? impersonated(candidate, servers) : null;
    const canonical = canonicalName(candidate.server, candidate.name);
    if (other)
      named.set(candidate, {
        reason: `its name looks like a name of server ${other}; set prefix: always for ${candidate.server}`,
        told: "its name looks like a name of another server",
      });
    else open.push({ candidate, canonical, base, wire: fitName(base, canonical, max) });
  }
  const alike = [...clashes(open, ({ base }) => skeleton(base)), ...clashes(open, ({ wire }) => wire.toLowerCase())];
  for (const { one, others, ofSeveral } of alike) {
    // A prefix distinguishes names of several servers, but not two names of the same server.
    const remedy = `${ofSeveral ? "set prefix: always, or " : ""}rename one of them on its server`;
    named.set(one.candidate, {
      reason: `its name cannot be distinguished from that of ${others}; ${remedy}`,
      told: "its name cannot be distinguished from another name",
    });
  }
  for (const { candidate, wire } of open) if (!named.has(candidate)) named.set(candidate, wire);
  return named;
}
