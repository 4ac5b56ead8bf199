import type { Config } from "../config/schema.ts";
import type { Kind, Route } from "../core/call.ts";
import { formatPath, type Mention, type Path } from "../core/finding.ts";
import { isObject } from "../core/json.ts";
import { listNames } from "../core/lists.ts";
import { memoize } from "../core/memoize.ts";
import { ownServer, splitCanonical, splitSelector } from "../core/name.ts";
import { nearest } from "../core/nearest.ts";
import { type Catalog, gatewayCapabilities } from "../core/ports.ts";
import type { Gateway } from "./gateway.ts";

/** Maximum number of findings reported one by one: a server that stops offering anything yields one for each rule. */
const maxReported = 20;

/** The names of the arguments that a tool takes; null if its schema does not define them. */
type Arguments = ReadonlySet<string> | null;
type Offer = {
  readonly tool: Map<string, Arguments>;
  readonly prompt: Map<string, Arguments>;
  /** The arguments that any of its tools takes; null if unknown. */
  takes: Set<string> | null;
  /** Whether it offers more than tools. */
  wide: boolean;
  /** The kinds whose lists are not fully known. */
  readonly unknown: Set<Kind>;
};
type Offers = ReadonlyMap<string, Offer>;
type Finding = { readonly path: Path; readonly what: string; readonly wrong: string; readonly known: () => string[] };
type Named = Pick<Config, "limits" | "toolsets"> & { readonly rules: readonly Mention[] };
type Sources = Pick<Gateway, "catalog"> & { readonly upstreams: Pick<Gateway["upstreams"], "status"> };

/**
 * Returns warnings about tools, prompts and arguments that the configuration names but that their server does not offer
 * now, because a misspelled guardrail would deny nothing. Only plain names are looked up, in fully known lists; a glob
 * need not match anything today.
 */
export function unoffered(named: () => Named, sources: Sources): () => readonly string[] {
  // Computed once per catalog, which is replaced on changes, because it is slow with many rules and tools.
  const foundIn = memoize((_catalog: Catalog) => findUnoffered(named(), sources));
  return () => foundIn(sources.catalog);
}

function findUnoffered(named: Named, sources: Sources): string[] {
  const offers = offersOf(sources);
  const found = [...rules(named, offers), ...limits(named, offers), ...toolsets(named, offers, sources)];
  const sentences = found.slice(0, maxReported).map(({ path, what, wrong, known }) => {
    const guess = nearest(wrong, known());
    return `${formatPath(path)}: ${what}${guess === null ? "" : `; did you mean ${guess}?`}`;
  });
  const more = found.length - sentences.length;
  if (more === 0) return sentences;
  return [...sentences, `other names in rules, limits and toolsets that currently match nothing: ${more}`];
}

/** Returns what each listed server offers, and what the gateway itself offers. */
function offersOf({ catalog, upstreams }: Sources): Offers {
  const routes = listNames.flatMap((list) => catalog.routes(list, null));
  const listed = upstreams.status().filter(({ state, listedAt }) => state !== "disabled" && listedAt !== null);
  // The gateway's own tools may be disabled, like a server.
  const own = routes.some(({ server }) => server === ownServer) ? [ownServer] : [];
  const offers = new Map<string, Offer>();
  for (const id of [...own, ...listed.map((each) => each.id)])
    offers.set(id, { tool: new Map(), prompt: new Map(), takes: new Set(), wide: false, unknown: new Set() });
  const add = (server: string, name: string, kind: Kind, takes: Arguments) => {
    const offer = offers.get(server);
    if (!offer) return;
    if (kind !== "tool") offer.wide = true;
    else if (takes === null) offer.takes = null;
    else for (const each of takes) offer.takes?.add(each);
    if (kind === "tool" || kind === "prompt") offer[kind].set(name, takes);
  };
  for (const capability of gatewayCapabilities) add(ownServer, capability, "tool", null);
  for (const { server, name, kind, tool } of routes) add(server, name, kind, argumentsOf(tool));
  for (const { canonical, kind, cut } of catalog.missing(null)) {
    const { server = "", tool: name = "" } = splitCanonical(canonical) ?? {};
    if (cut) offers.get(server)?.unknown.add(kind);
    else add(server, name, kind, null);
  }
  return offers;
}

/** Keywords with which a schema may take arguments that its `properties` do not name. */
const opening = ["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "patternProperties", "dependentSchemas"];

function argumentsOf(tool: Route["tool"]): Arguments {
  const schema = tool?.inputSchema;
  if (!schema || !isObject(schema["properties"])) return null;
  if (opening.some((keyword) => Object.hasOwn(schema, keyword))) return null;
  const { additionalProperties = false } = schema;
  return additionalProperties === false ? new Set(Object.keys(schema["properties"])) : null;
}

const isPlain = (name: string): boolean => !/[*?]/.test(name);

function rules({ rules: mentions }: Named, offers: Offers): Finding[] {
  return mentions.flatMap((mention) => {
    const { path, server, name } = mention;
    const offer = offers.get(server);
    if (!offer || (mention.kind === null && (offer.wide || offer.unknown.size > 0))) return [];
    const kind = mention.kind ?? "tool";
    if (offer.unknown.has(kind)) return [];
    const listed = offer[kind];
    if (name !== null && isPlain(name)) {
      if (!listed.has(name)) return [missing({ path: [...path, kind], kind, server, name }, listed)];
      return strange(mention, listed.get(name) ?? null, `${server}:${name} does not currently take`);
    }
    return kind === "tool" ? strange(mention, offer.takes, `no tool of server ${server} currently takes`) : [];
  });
}

type Missing = { readonly path: Path; readonly kind: string; readonly server: string; readonly name: string };

function missing({ path, kind, server, name }: Missing, listed: ReadonlyMap<string, Arguments>): Finding {
  const what = `server ${server} currently lists no ${kind} ${JSON.stringify(name)}, at least not to every caller`;
  return { path, what, wrong: name, known: () => [...listed.keys()] };
}

/** Finds conditions on arguments that are not taken. */
function strange({ path, subjects }: Mention, taken: Arguments, of: string): Finding[] {
  if (taken === null) return [];
  return subjects.flatMap((subject) => {
    const [root, wrong = ""] = subject.split(".");
    if (root !== "args" || taken.has(wrong)) return [];
    const what = `${of} an argument ${JSON.stringify(wrong)}`;
    return [{ path: [...path, "when", subject], what, wrong, known: () => [...taken] }];
  });
}

function limits({ limits: { perTool } }: Named, offers: Offers): Finding[] {
  return perTool.flatMap(({ tool, server: beside }, index) => {
    const { server, name } = splitSelector(tool, beside);
    const { tool: listed, unknown } = offers.get(server ?? "") ?? {};
    if (server === null || !listed || unknown?.has("tool") || !isPlain(name) || listed.has(name)) return [];
    return [missing({ path: ["limits", "perTool", index, "tool"], kind: "tool", server, name }, listed)];
  });
}

/** Reports whether a selection names resources, which need not be in any list. */
const isUri = (selection: string): boolean => selection.split(":").length > 2;

function toolsets({ toolsets: all }: Named, offers: Offers, { catalog }: Sources): Finding[] {
  return all.flatMap(({ id, include, exclude, rename }, index) => {
    const at = ["toolsets", index];
    const found = [
      ...include.map((text, i) => [[...at, "include", i], text] as const),
      ...exclude.map((text, i) => [[...at, "exclude", i], text] as const),
      ...Object.keys(rename).map((text) => [[...at, "rename", text], text] as const),
    ].flatMap(([path, text]) => {
      const { server = "", tool: name = "" } = splitCanonical(text) ?? {};
      const offer = offers.get(server);
      if (!offer || offer.unknown.has("tool") || offer.unknown.has("prompt")) return [];
      if (!isPlain(name) || isUri(text) || offer.tool.has(name) || offer.prompt.has(name)) return [];
      const listed = new Map([...offer.tool, ...offer.prompt]);
      return [missing({ path, kind: "tool or prompt", server, name }, listed)];
    });
    const servers = [...catalog.servers(id)];
    const known =
      servers.length > 0 && servers.every((server) => offers.get(server)?.unknown.size === 0) && !include.some(isUri);
    if (found.length > 0 || !known || listNames.some((list) => catalog.routes(list, id).length > 0)) return found;
    return [
      { path: at, what: "selects nothing that its servers currently list to every caller", wrong: id, known: () => [] },
    ];
  });
}
