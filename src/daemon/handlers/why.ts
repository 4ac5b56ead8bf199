import { anonymousPrincipal, localPrincipal, stdioPrincipal } from "../../authn/keyless.ts";
import type { KeyInfo, Keyring } from "../../authn/keyring.ts";
import type { Answer, Parsed } from "../../control/api.ts";
import { Refusal } from "../../control/refusal.ts";
import type { Config } from "../../config/schema.ts";
import type { Route } from "../../core/call.ts";
import { type ListName, listNames, lists } from "../../core/lists.ts";
import { ownServer, plainRoute, splitCanonical } from "../../core/name.ts";
import type { Capability, Catalog } from "../../core/ports.ts";
import type { ServerState, ServerStatus } from "../../core/upstream.ts";
import type { Principal } from "../../core/principal.ts";
import { toRate } from "../../core/rate.ts";
import type { Gateway } from "../../gateway/gateway.ts";

export type WhyOptions = {
  readonly gw: Pick<Gateway, "catalog" | "policy" | "limits"> & {
    readonly upstreams: Pick<Gateway["upstreams"], "status">;
  };
  readonly keyring: Keyring;
  readonly toolsets: readonly string[];
  readonly auth: Config["auth"];
};

type Kind = NonNullable<Parsed<"why">["kind"]>;
type Why = Answer<"why">;
/** A possible caller, why it is refused before any policy decides (null: it is not), and its key's allowed networks. */
type Caller = { readonly who: Principal; readonly refused: string | null; readonly cidrs: readonly string[] };

const undecided = { allowed: false, remedy: null, elsewhere: false };
const unoffered = { ...undecided, listed: false, rule: null, reason: "no caller is offered it" };

/** Explains why a key or consumer sees and may call something, or why not. Throws a `Refusal` for an unknown caller. */
export function whyOf({ gw, keyring, toolsets, auth }: WhyOptions, input: Parsed<"why">): Why {
  const callers = callersOf(input.who, keyring, auth);
  const { catalog } = gw;
  const { target, kind } = input;
  const known = locate(catalog, target, kind, callers);
  const found = known.length > 0 ? known : renamed(catalog, target, kind, toolsets);
  const route = found.length === 1 ? found[0] : undefined;
  const right = route ? undefined : rightNamed(input);
  const barred = (who: Principal): string | null => {
    const limit = route ? gw.limits.barring(who, route) : null;
    return limit && `limit ${limit} allows no calls`;
  };
  return {
    kind: route && route.kind !== "extension" ? route.kind : (input.kind ?? null),
    name: route?.canonical ?? input.target,
    wire: route?.wire ?? null,
    missing: route ? null : whyAbsent(gw, input, found),
    down: route ? downOf(gw, route.server) : null,
    toolsets: route ? toolsets.map((id) => inToolset(catalog, route, id)) : [],
    callers: callers.map(({ who, refused: before, cidrs }) => {
      const { id, consumerId: consumer, roles } = who;
      const refused = before ?? barred(who);
      const caller = { id, consumer, roles, refused };
      if (right) {
        const explained = gw.policy.explain(who, plainRoute("tool", ownServer, right), {});
        return { ...caller, ...explained, ...(refused !== null && undecided), listed: false, remedy: null };
      }
      if (!route) return { ...caller, ...unoffered };
      const args = route.kind === "resource" ? { uri: route.name } : input.arguments;
      const explained = gw.policy.explain(who, route, args);
      const only = explained.allowed && cidrs.length > 0 ? `; its key is accepted only from ${cidrs.join(", ")}` : "";
      return { ...caller, ...explained, ...(refused !== null && undecided), reason: `${explained.reason}${only}` };
    }),
  };
}

/** Rights on the gateway itself, other than its tools, that a rule can grant. */
const rights: Readonly<Record<Capability, string>> = {
  metrics: "read /metrics",
  status: "read the detail of /ready",
  audit_all: "see the records and the usage of all consumers",
};

function rightNamed({ target, kind = "tool" }: Parsed<"why">): Capability | undefined {
  const split = splitCanonical(target);
  const isIt = (name: string): name is Capability => Object.hasOwn(rights, name);
  return kind === "tool" && split?.server === ownServer && isIt(split.tool) ? split.tool : undefined;
}

const listsOf = (kind: Route["kind"] | undefined): readonly ListName[] =>
  listNames.filter((list) => kind === undefined || kind === lists[list].kind);

/** Finds the routes of a target: a canonical name, a wire name, or a URI. */
function locate(
  catalog: Catalog,
  target: string,
  kind: Kind | undefined,
  callers: readonly Caller[],
): readonly Route[] {
  for (const list of listsOf(kind)) {
    const route = catalog.find(target, list) ?? catalog.routes(list, null).find(({ wire }) => wire === target);
    if (route) return [route];
  }
  if (kind !== undefined && kind !== "resource") return [];
  const whoever = callers.map(({ who }) => who);
  const routes = catalog.locate(target, whoever);
  const split = splitCanonical(target);
  // `files:file:///a` is an unlisted URI of one server.
  return routes.length > 0 || !split?.tool.includes(":") ? routes : catalog.locate(`mcpgw+${target}`, whoever);
}

/** Finds the routes of a target that is a name given by toolsets, alone or as `TOOLSET:NAME`. */
function renamed(catalog: Catalog, target: string, kind: Kind | undefined, toolsets: readonly string[]): Route[] {
  for (const list of ["tools", "prompts"] as const) {
    if (kind !== undefined && kind !== lists[list].kind) continue;
    const found = new Set<Route>();
    for (const id of toolsets) {
      const isMeant = ({ wire }: Route): boolean => wire === target || `${id}:${wire}` === target;
      const { canonical } = catalog.routes(list, id).find(isMeant) ?? {};
      const route = canonical === undefined ? null : catalog.find(canonical, list);
      if (route) found.add(route);
    }
    if (found.size > 0) return [...found];
  }
  return [];
}

/** Returns the name of a route in a toolset, or why the toolset does not offer it. */
function inToolset(catalog: Catalog, route: Route, id: string): Why["toolsets"][number] {
  const { canonical, kind } = route;
  const gone = (missing: string) => ({ id, wire: null, missing });
  if (!catalog.admits(route, id)) return gone("it is not included");
  const listed = listsOf(kind).flatMap((list) => catalog.routes(list, id));
  const there = listed.find((each) => each.canonical === canonical);
  if (there) return { id, wire: there.wire, missing: null };
  const entry = catalog.missing(id).find((each) => each.canonical === canonical && each.kind === kind);
  return entry ? gone(entry.reason) : { id, wire: route.wire, missing: null };
}

/** Returns why the gateway may not know everything a server offers; null if it does. */
function unlisted(gw: WhyOptions["gw"], server: string, kind: Parsed<"why">["kind"]): string | null {
  const isIts = (canonical: string): boolean => splitCanonical(canonical)?.server === server;
  const list = gw.catalog
    .missing(null)
    .find((each) => each.cut && isIts(each.canonical) && (kind ?? each.kind) === each.kind);
  return list ? `the lists of server ${server} are incomplete: ${list.reason}` : null;
}

function whyAbsent(gw: WhyOptions["gw"], input: Parsed<"why">, found: readonly Route[]): string {
  const { target, kind } = input;
  const right = rightNamed(input);
  if (right) return `it is a right, not a tool: a caller that has it may ${rights[right]}`;
  if (found.length > 1) return `several servers offer it: ${found.map(({ canonical }) => canonical).join(", ")}`;
  const entry = gw.catalog.missing(null).find((each) => each.canonical === target && (kind ?? each.kind) === each.kind);
  if (entry) return entry.reason;
  const server = splitCanonical(target)?.server ?? "";
  const status = gw.upstreams.status().find(({ id }) => id === server);
  const what = kind ?? "thing";
  if (status) return stateOf(status) ?? unlisted(gw, server, kind) ?? `server ${server} offers no such ${what}`;
  if (server === ownServer) return `the gateway itself offers no such ${what}`;
  if (kind === "resource" || target.includes("://"))
    return "no server lists this URI, has a template for it, or gave it to a caller";
  if (server === "") return `no server offers such a ${what}${namesakes(gw.catalog, target, kind)}`;
  return `there is no server ${server}; \`mcpgw servers list\` shows all`;
}

/** Suggests canonical names for a target without a server; empty if there are none. */
function namesakes(catalog: Catalog, target: string, kind: Kind | undefined): string {
  const found = listsOf(kind)
    .flatMap((list) => catalog.routes(list, null))
    .flatMap(({ canonical }) => (splitCanonical(canonical)?.tool === target ? [canonical] : []));
  return found.length === 0 ? "" : `; did you mean ${found.slice(0, 5).join(" or ")}?`;
}

function downOf(gw: WhyOptions["gw"], server: string): string | null {
  const status = gw.upstreams.status().find(({ id }) => id === server);
  // A call waits for a server that is starting.
  return status && status.state !== "starting" ? stateOf(status) : null;
}

const stateWords: Readonly<Record<Exclude<ServerState, "ready" | "idle">, string>> = {
  disabled: "disabled",
  starting: "starting",
  stopping: "stopping",
  backoff: "down",
  "open-circuit": "down, with its circuit breaker open",
};

/** Returns why a server cannot be used now; null if it can, or if it starts when called. */
function stateOf({ id, state, reason, listedAt }: ServerStatus): string | null {
  if (state === "ready" || state === "idle") return null;
  const last = listedAt === null ? "it was never listed" : `it was last listed at ${new Date(listedAt).toISOString()}`;
  return `server ${id} is ${stateWords[state]}${reason === null ? "" : `: ${reason}`}${state === "disabled" ? "" : `; ${last}`}`;
}

/** Returns all callers that a name may refer to: a key id, a consumer, or a principal id. */
function callersOf(name: string, keyring: Keyring, auth: Config["auth"]): Caller[] {
  const frozen = keyring.frozen ? "all callers are frozen; `mcpgw keys unfreeze` ends the freeze" : null;
  const keys = auth.type === "none" ? [] : keyring.list();
  const byId = keys.filter(({ id }) => id === name || `key:${id}` === name);
  const meant = byId.length > 0 ? byId : keys.filter(({ consumerId }) => consumerId === name);
  const callers = meant.map((key) => ({ who: principalOf(key), refused: frozen ?? refusalOf(key), cidrs: key.cidrs }));
  const others: Principal[] = [];
  if (auth.stdio && [auth.stdio.consumerId, `stdio:${auth.stdio.consumerId}`].includes(name))
    others.push(stdioPrincipal(auth.stdio, keyring));
  if (auth.type === "none" && name === "anonymous") others.push(anonymousPrincipal(auth.roles ?? [], keyring));
  const uid = /^local:(\d{1,10})$/.exec(name)?.[1];
  if (uid) others.push(localPrincipal(Number(uid), keyring));
  const all = [...callers, ...others.map((who) => ({ who, refused: frozen, cidrs: [] }))];
  if (all.length > 0) return all;
  throw new Refusal("not-found", `there is no key or consumer ${name}; \`mcpgw keys list\` shows all`);
}

function principalOf({ id, consumerId, name, roles, perMinute }: KeyInfo): Principal {
  const revoked = new AbortController().signal;
  const rate = perMinute === null ? null : toRate(perMinute);
  return { id: `key:${id}`, method: "api-key", keyId: id, consumerId, name, roles, rate, revoked };
}

/** Returns why a key is not accepted; null if it is. */
function refusalOf({ state, reason, expiresAt }: KeyInfo): string | null {
  if (state === "active") return null;
  if (state === "inert") return `the key ${reason}`;
  const at = state === "expired" && expiresAt !== null ? ` as of ${new Date(expiresAt).toISOString()}` : "";
  return `the key is ${state}${at}`;
}
