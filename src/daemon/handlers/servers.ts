import type { LeftOut, ServerTool } from "../../control/schemas.ts";
import type { Handlers } from "../../control/contract.ts";
import { Refusal } from "../../control/refusal.ts";
import type { Item, Route } from "../../core/call.ts";
import { type ListName, listNames, lists } from "../../core/lists.ts";
import { canonicalName } from "../../core/name.ts";
import type { Missing } from "../../core/ports.ts";
import { cut } from "../../core/text.ts";
import { emptyListing, type ServerStatus } from "../../core/upstream.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import type { Engine } from "../engine.ts";
import type { Serving } from "./status.ts";
import { serverTool } from "./tools.ts";

type Names = `servers.${"list" | "show" | "restart" | "logs" | "follow"}`;

/** Returns the operators' operations on servers. */
export function serverHandlers(
  { current, upstreams }: Engine,
  { state }: Pick<Serving, "state">,
): Pick<Handlers, Names> {
  const find = (id: string): ServerStatus => findServer(current(), id);
  return {
    "servers.list": () => ({ servers: current().upstreams.status() }),
    "servers.show": ({ id }) => ({
      server: find(id),
      tools: toolsOf(current(), id),
      others: { ...counts(current(), id, () => true), hidden: othersMissing(current(), id) },
      leftOut: leftOutOf(current(), id),
    }),
    "servers.restart"({ id }) {
      // A restart would cut off the calls that the shutdown waits for, and would start nothing.
      if (state() === "draining") throw new Refusal("unavailable", "the daemon is stopping");
      if (find(id).state === "disabled") {
        throw new Refusal("conflict", `server ${id} is disabled; run \`mcpgw servers enable ${id}\` first`);
      }
      const run = async () => {
        await upstreams().restart(id);
        return { server: find(id) };
      };
      return { facts: { server: id }, run };
    },
    "servers.logs": ({ id, lines }) => ({ lines: upstreams().log(find(id).id).last(lines) }),
    async *"servers.follow"({ id, lines }, { signal }) {
      // A reload that changes the server gives it another log, of which every line is new.
      for (let count = lines; !signal.aborted; count = Infinity) {
        const log = upstreams().log(find(id).id);
        for await (const one of log.follow(count, signal)) yield typeof one === "string" ? { line: one } : one;
      }
    },
  };
}

/** Returns the status of a server. Throws a `Refusal` if there is no server with that id. */
export function findServer({ upstreams }: Gateway, id: string): ServerStatus {
  const server = upstreams.status().find((one) => one.id === id);
  if (!server) throw noServer(id);
  return server;
}

/** Returns the refusal for a server that does not exist, or that the caller may not know about. */
export const noServer = (id: string): Refusal =>
  new Refusal("not-found", `there is no server ${id}; \`mcpgw servers list\` shows all`);

/** Counts the prompts, resources and templates of a server that pass `sees`. */
export function counts({ catalog }: Gateway, server: string, sees: (route: Route) => boolean) {
  const count = (list: ListName): number =>
    catalog.routes(list, null).filter((route) => route.server === server && sees(route)).length;
  return { prompts: count("prompts"), resources: count("resources"), templates: count("resourceTemplates") };
}

const missingOf = ({ catalog }: Gateway, server: string): readonly Missing[] =>
  catalog.allMissing().filter(({ canonical }) => canonical.startsWith(`${server}:`));

function othersMissing(gw: Gateway, server: string) {
  const others = missingOf(gw, server).filter(({ kind }) => kind !== "tool");
  return others.map(({ kind, canonical, reason }) => ({ kind, name: canonical, reason }));
}

const maxLeftOut = 100;

/** Returns the server's definitions that are not offered because clients could not parse them. */
function leftOutOf({ upstreams }: Gateway, server: string): LeftOut {
  const listing = upstreams.listings().find((one) => one.server === server) ?? emptyListing;
  const all = listNames.flatMap((list) =>
    listing[list].flatMap(({ name, faults }: Item) =>
      faults ? { kind: lists[list].kind, name: canonicalName(server, name), reason: cut(faults.join("; "), 500) } : [],
    ),
  );
  return { first: all.slice(0, maxLeftOut), more: Math.max(0, all.length - maxLeftOut) };
}

/** Returns all tools of a server for an operator: the offered ones, and the missing ones with the reason. */
function toolsOf(gw: Gateway, server: string): ServerTool[] {
  const offered = gw.catalog.routes("tools", null).filter((route) => route.server === server);
  const missing = missingOf(gw, server).filter(({ kind }) => kind === "tool");
  const unoffered = { wire: "", server, description: null, unchecked: [] };
  return [
    ...offered.map((route) => serverTool(gw, route)),
    ...missing.map(({ canonical, reason }) => ({ ...unoffered, name: canonical, hidden: reason })),
  ];
}
