import type { Call, Reply, Route } from "../core/call.ts";
import { hasExtensions, isAsSevere, type LogLevel } from "../core/inbound.ts";
import { isExtensionNotification } from "../core/methods.ts";
import { cut, plain } from "../core/text.ts";
import type { UpstreamRequest } from "../core/upstream.ts";
import { specOf } from "../mcp/methods.ts";
import { encodeHeader, paramHeaders } from "../mcp/headers.ts";
import { stringValue } from "../mcp/json-text.ts";
import { forNextHop, type Implementation } from "../mcp/meta.ts";
import { callParams, notificationText } from "../mcp/outbound.ts";
import { progressNotification } from "../mcp/reply.ts";
import { capabilitiesInRequest } from "./capabilities.ts";
import { faults } from "./faults.ts";
import type { Spec } from "./instances/spec.ts";
import type { Answer, Handlers, LinkRequest, Peer } from "./link/link.ts";
import { maxCallTime, type ServerOptions } from "./options.ts";
import { factsOf } from "./transports/index.ts";

/** The instance that a call is sent to. */
export type Target = {
  readonly peer: Peer;
  readonly spec: Pick<Spec, "owner" | "asks">;
  readonly options: ServerOptions;
  readonly client: Implementation;
  /** Milliseconds that the call has waited already. */
  readonly waited: number;
  readonly prepare: NonNullable<LinkRequest["prepare"]>;
};

/**
 * Builds the request to the server. Its id and progress token are the gateway's; the caller's envelope is not passed
 * on.
 */
export function requestOf(call: Call, route: Route, request: UpstreamRequest, target: Target): LinkRequest {
  const { method, edits } = request;
  const { peer, spec, options, client, waited, prepare } = target;
  const { inbound, emit, controller } = call;
  const modern = peer.era === "modern";
  const mirrors = modern && factsOf(options).perRequest;
  // On a shared legacy instance, a notification may concern a caller whose call has ended.
  const own = spec.owner !== null || mirrors;
  const level = wantedLevel(call);
  const token = emit === null ? null : inbound.progressToken;
  return {
    method,
    params: (id) =>
      callParams(inbound, {
        era: peer.era,
        revision: peer.revision,
        edits,
        progressToken: token === null ? null : String(id),
        client,
        capabilities: modern ? capabilitiesInRequest(call) : "{}",
        logLevel: emit === null || level === "default" ? null : level,
      }),
    peer,
    timeout: options.timeout,
    waited,
    most: maxCallTime(options),
    signal: controller.signal,
    purpose: {
      kind: "call",
      handlers: handlersOf(call, token, target, own),
      client: own ? (call.session?.id ?? "") : null,
    },
    headers: mirrors ? mirror(call, route, request) : null,
    prepare,
  };
}

/**
 * Returns the minimum severity of log messages that a caller wants. Null: no messages. `default`: those that a server
 * sends without being asked, for a legacy client that never set a level.
 */
export function wantedLevel({ inbound, session }: Call): LogLevel | "default" | null {
  if (inbound.era === "legacy") return session?.logLevel ?? "default";
  return inbound.logLevel;
}

/** Returns the handlers for a call. `own`: notifications during the call can only be meant for its caller. */
function handlersOf(call: Call, token: string | null, { peer, spec }: Target, own: boolean): Handlers {
  const { emit, input } = call;
  // Questions to a client that did not declare the capability are refused later, where the refusal is recorded.
  const ask = peer.era === "legacy" && spec.owner !== null ? input : null;
  const asking = { ask, askable: spec.asks };
  if (emit === null) return { progress: null, message: null, other: null, ...asking };
  const level = wantedLevel(call);
  return {
    progress: token === null ? null : (params) => emit(progressNotification(token, params)),
    message:
      level === null
        ? null
        : (params) => {
            const passes = level === "default" || isAsSevere(stringValue(params, 0, "level"), level);
            if (passes) emit(notificationText("notifications/message", forNextHop(params, null)));
            return passes;
          },
    other(method, params) {
      const extension = isExtensionNotification(method);
      const passes = extension ? own && hasExtensions(call.capabilities) : call.inbound.era === "legacy";
      if (passes) emit(notificationText(method, forNextHop(params, null)));
      return passes;
    },
    ...asking,
  };
}

/** Returns the headers that repeat parameters of the request, for proxies that route by headers (2026-07-28, HTTP). */
function mirror({ inbound }: Call, { tool }: Route, { method, edits }: UpstreamRequest): Record<string, string> {
  const source = specOf(method)?.names;
  const name: unknown = source && (edits[source] ? JSON.parse(edits[source]) : inbound.params[source]);
  return {
    ...(typeof name === "string" && { "Mcp-Name": encodeHeader(name) }),
    ...(tool && method === "tools/call" && paramHeaders(tool.inputSchema, inbound)),
  };
}

/** Converts an answer into a reply; throws `upstream-protocol` for a result type that no extension allows. */
export function replyOf(answer: Answer, { era }: Peer, server: string, call: Call): Reply {
  if (answer.kind === "error") return { kind: "error", era, text: answer.error, code: answer.code };
  const { result: text, isError, resultType } = answer;
  const type = era === "legacy" || resultType === "complete" ? null : resultType;
  // Only extensions allow further types. The exception is `input_required`, which is checked later.
  if (type !== null && type !== "input_required" && !hasExtensions(call.capabilities)) {
    throw faults.protocol(server, `its result has the type "${plain(cut(type, 200))}", which was not requested`);
  }
  return { kind: "result", era, text, isError, type };
}
