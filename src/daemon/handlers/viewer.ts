import { localPrincipal } from "../../authn/keyless.ts";
import type { Keyring } from "../../authn/keyring.ts";
import type { Input } from "../../control/api.ts";
import type { Context } from "../../control/contract.ts";
import { Refusal } from "../../control/refusal.ts";
import type { AuditEntry } from "../../control/schemas.ts";
import { type Kind, kinds, type Route } from "../../core/call.ts";
import { Cancel, type AbortControllerLike, onAbort } from "../../core/cancel.ts";
import { asFailure, unknownTargets } from "../../core/failure.ts";
import { plainRoute } from "../../core/name.ts";
import { localSource, type Principal } from "../../core/principal.ts";
import { anyOf, mayUse } from "../../core/rights.ts";
import type { UsageRow } from "../../core/store.ts";
import type { ServerStatus } from "../../core/upstream.ts";
import { identify, type Caller } from "../../gateway/call-by-name.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import type { Viewer, ViewerHandlers } from "../../serve/gateway-tools.ts";
import { unnamed } from "../../usage/counters.ts";
import type { Archive } from "../archive.ts";
import type { Engine } from "../engine.ts";
import { askerOf } from "./act.ts";
import { auditLog } from "./audit.ts";
import { queueLookup } from "./records.ts";
import { counts, findServer, noServer } from "./servers.ts";
import { queueCount, statsOf } from "./stats.ts";
import { countTools, listTools, nestedCall, serverTool, toolsFor } from "./tools.ts";
import { meteringOf, queueUsage, usageBy } from "./usage.ts";
import { evidenceOf, verifyChains, queueVerification } from "./verify.ts";

/** Returns the caller on a control connection: its key's holder or an administrator. Closing it aborts `controller`. */
export function controlCaller(ctx: Context, keyring: Keyring, controller: AbortControllerLike = new Cancel()): Caller {
  const { peer, key, signal } = ctx;
  onAbort(signal, () => controller.abort());
  const source = { ...localSource("control"), peer: askerOf(ctx) };
  const from = { source, controller };
  if (key !== null) return { ...from, credentials: [key], vouched: null };
  if (peer.access !== "admin") {
    throw new Refusal("denied", `uid ${peer.uid} is not an administrator; set MCPGW_API_KEY to act as a key's holder`);
  }
  return { ...from, credentials: [], vouched: localPrincipal(peer.uid, keyring) };
}

/** Identifies the caller of `method`. Throws a `Refusal` if it is not accepted. */
export async function whoIs(gw: Gateway, caller: Caller, method: string): Promise<Principal> {
  try {
    return await identify(gw, caller, method);
  } catch (error) {
    throw new Refusal("denied", asFailure(error).message);
  }
}

/** Returns the viewer of a control connection. Operators see the records of all consumers. */
export async function viewerOf(ctx: Context, gw: Gateway, keyring: Keyring): Promise<Viewer> {
  const caller = controlCaller(ctx, keyring);
  const { source, controller } = caller;
  return { who: await whoIs(gw, caller, "tools/list"), consumer: null, source, call: null, controller };
}

/** Returns the operations that callers may use as MCP tools. Each caller gets only what it may see. */
export function viewerHandlers(engine: () => Engine, archive: Archive): ViewerHandlers {
  return {
    "servers.list": (_input, viewer) => {
      const gw = engine().current();
      const seen = gw.upstreams.status().filter(({ id }) => sees(gw, viewer, id));
      return { servers: seen.map((server) => shownTo(gw, viewer, server)) };
    },
    "servers.show": async ({ id }, viewer) => {
      const gw = engine().current();
      const status = findServer(gw, id);
      // The same message as for a server that does not exist, so that a caller without rights learns nothing about it.
      if (!sees(gw, viewer, id)) throw noServer(id);
      const { who, source } = viewer;
      const others = counts(gw, id, (route) => gw.policy.lists(who, route, source));
      const tools = (await toolsFor(gw, id, viewer)).map((route) => serverTool(gw, route));
      const server = shownTo(gw, viewer, status);
      return { server, tools, others: { ...others, hidden: [] }, leftOut: { first: [], more: 0 } };
    },
    "tools.list": ({ server }, viewer) => listTools(engine().current(), server, viewer),
    "tools.call": (input, viewer) => nestedCall(engine().current(), input, viewer),
    "audit.log": (input, { who, consumer, controller }) =>
      queueLookup(who.id, controller.signal, () =>
        consumer === null
          ? auditLog(archive, input)
          : auditLog(archive, own(input, consumer), (entry) => told(entry, input)),
      ),
    "audit.stats": (input, { who, consumer, controller }) =>
      queueCount(who.id, controller.signal, () => statsOf(archive, input, consumer, controller.signal)),
    "audit.verify": (input, { who, controller }) =>
      queueVerification(who.id, controller.signal, () =>
        verifyChains(evidenceOf(engine(), archive), input, controller.signal),
      ),
    usage: (input, viewer) => {
      const { who, consumer, controller } = viewer;
      const asked = own(input, consumer);
      return queueUsage(who.id, controller.signal, () => {
        const { current, loaded } = engine();
        return usageBy(redactedUsage(archive, current(), viewer), asked, meteringOf(loaded().config));
      });
    },
  };
}

/** Limits the input to a consumer (null: all consumers). Throws a `Refusal` if it asks for another consumer. */
function own<T extends { consumer?: string | undefined }>(input: T, consumer: string | null): T {
  if (consumer === null) return input;
  if (input.consumer === undefined || input.consumer === consumer) return { ...input, consumer };
  throw new Refusal(
    "denied",
    `you may only see the records of consumer ${consumer}; a rule that allows mcpgw:audit_all shows all`,
  );
}

/** Redacts a record for its caller, who must not learn that something it named exists but is hidden. */
function told(entry: AuditEntry, { server, tool }: Pick<Input<"audit.log">, "server" | "tool">): AuditEntry[] {
  if (!unknownTargets.has(String(entry.facts["code"]))) return [entry];
  return (server ?? tool) ? [] : [{ ...entry, server: null, tool: null, rule: null, reason: null }];
}

/** Redacts usage for its consumer, who must not learn that something it named exists but is hidden. */
const redactedUsage = (archive: Archive, gw: Gateway, viewer: Viewer): Pick<Archive, "usage"> => ({
  async usage(query) {
    const { rows, ...rest } = await archive.usage(query);
    return { ...rest, rows: rows.map((row) => (isHidden(gw, viewer, row) ? unnamed(row) : row)) };
  },
});

/** Reports whether every call in a row was denied and the viewer has no right to what was called. */
function isHidden(gw: Gateway, viewer: Viewer, { server, tool, calls, denied }: UsageRow): boolean {
  if (viewer.consumer === null || server === "" || denied < calls) return false;
  const { who, source } = viewer;
  // A name in parentheses stands for many tools.
  const routeOf = (kind: Kind): Route => (tool.startsWith("(") ? anyOf(kind, server) : plainRoute(kind, server, tool));
  return !kinds.some((kind) => gw.policy.lists(who, routeOf(kind), source));
}

/** Reports whether a caller has any right on a server, or may see the records of all consumers. */
const sees = ({ policy }: Gateway, { who, consumer, source }: Viewer, server: string): boolean =>
  consumer === null || mayUse(policy, who, source, server);

/** Returns a server's status for a caller: without host processes, other callers, and tools that it may not use. */
function shownTo(gw: Gateway, viewer: Viewer, server: ServerStatus): ServerStatus {
  const { who, consumer } = viewer;
  return {
    ...server,
    tools: consumer === null ? server.tools : countTools(gw, server.id, viewer),
    pids: [],
    ownPid: null,
    down: server.down.filter(({ owner }) => consumer === null || owner === null || owner === who.id),
  };
}
