import type { Call, IdentifiedCall, Kind, Reply, Route, RoutedCall } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { isObject } from "../core/json.ts";
import { memoize } from "../core/memoize.ts";
import { isRequestMethod, type RequestMethod } from "../core/methods.ts";
import { notFound } from "../core/name.ts";
import type { UpstreamRequest } from "../core/upstream.ts";
import { overrideMembers } from "../mcp/edit.ts";
import { rawValue } from "../mcp/json-text.ts";
import { paramText } from "../mcp/message.ts";
import { specOf } from "../mcp/methods.ts";
import { isExtensionMethod, resolveExtension } from "./extensions.ts";
import { type Gateway, learnTools } from "./gateway.ts";
import { listen } from "./listen.ts";
import { discover, initialize, list, ping, setLevel } from "./own-answers.ts";
import type { Resolved } from "./resolved.ts";
import { subscribe, unsubscribe } from "./subscribe.ts";
import { resolveTask } from "./tasks.ts";

/**
 * A request that the gateway answers itself. It is counted, but has no begin and end records, because it has no effect
 * on a server. There are two exceptions: `subscriptions/listen`, which takes tokens and writes its own record, and
 * `resources/unsubscribe`, which can only end what the session was granted.
 */
type Own = (gw: Gateway, call: IdentifiedCall) => Reply | Promise<Reply>;

/** A request that goes to a server, and so is decided, limited and recorded. */
export type Governed = {
  /**
   * Reports whether the thing that the call names exists, regardless of the caller's rights. Also false while its
   * server is starting.
   */
  readonly offered: (gw: Gateway, call: IdentifiedCall) => boolean;
  /** Set if it may still be learned what is offered: waits for that, and resolves with the gateway current then. */
  readonly learn?: (gw: Gateway, call: IdentifiedCall) => Promise<Gateway>;
  /** Resolves the request; throws the same failure for a missing and a hidden thing. */
  readonly resolve: (gw: Gateway, call: IdentifiedCall) => Resolved;
  /** Set if it calls a tool, so that its arguments are checked and it takes a token of the tool's limit. */
  readonly callsTool?: true;
  /** Answers a subscription. It outlives its request, so one record takes the place of begin and end. */
  readonly opens?: (gw: Gateway, call: RoutedCall) => Promise<Reply>;
};

/** How a request is answered: `Own` is a function, and `Governed` holds what the request path needs to know. */
type Method = Own | Governed;

/** The caller names a task by the handle that the gateway gave it. */
const task: Governed = { offered: () => true, resolve: resolveTask };

const methods: Readonly<Record<RequestMethod, Method>> = {
  initialize,
  "server/discover": discover,
  ping,
  "logging/setLevel": setLevel,
  "tools/list": list("tools"),
  "prompts/list": list("prompts"),
  "resources/list": list("resources"),
  "resources/templates/list": list("resourceTemplates"),
  "tools/call": { ...named("tool", "name"), learn: learnTools, callsTool: true },
  "prompts/get": named("prompt", "name"),
  "resources/read": named("resource", "uri"),
  "completion/complete": completion(),
  "resources/subscribe": { ...named("resource", "uri"), opens: subscribe },
  "resources/unsubscribe": unsubscribe,
  "subscriptions/listen": listen,
  "tasks/get": task,
  "tasks/update": task,
  "tasks/cancel": task,
};

/** A method of an extension names no server, so its server is known only when all servers have started. */
const extension: Governed = { offered: () => false, resolve: resolveExtension };

/** Returns the method of a request. Throws `unknown-method` if its era, or the gateway, does not know the method. */
export function methodOf(call: Call): Method {
  const { method, era } = call.inbound;
  if (!isRequestMethod(method)) {
    if (isExtensionMethod(call)) return extension;
    throw notFound("extension", method);
  }
  if (specOf(method)?.eras.includes(era)) return methods[method];
  throw new Failure("unknown-method", `The method "${method}" is not part of this protocol revision.`);
}

/** Returns the entry of a request with a parameter that names a thing; the server gets its own name for that thing. */
function named(kind: Kind, parameter: "name" | "uri"): Governed {
  const editsFor = memoize(({ name }: Route): UpstreamRequest["edits"] => ({ [parameter]: JSON.stringify(name) }));
  return {
    offered: ({ catalog }, call) => catalog.offers(kind, call.inbound.params[parameter], call.scope, call),
    resolve({ catalog }, call) {
      const { method, params } = call.inbound;
      const route = catalog.resolve(call, kind, params[parameter]);
      return { route, request: { method, edits: editsFor(route) } };
    },
  };
}

/** A completion is decided as the thing that it completes: a prompt by its name, a resource or template by its URI. */
function completion(): Governed {
  return {
    offered(gw, call) {
      const { kind, name } = referenceOf(call);
      return gw.catalog.offers(kind, name, call.scope, call);
    },
    resolve({ catalog, policy }, call) {
      const { inbound } = call;
      const { type, kind, name, parameter } = referenceOf(call);
      const route = catalog.resolve(call, kind, name);
      const named = { type: JSON.stringify(type), [parameter]: JSON.stringify(route.name) };
      const ref = overrideMembers(paramText(inbound, "ref") ?? "{}", named);
      const argument = withoutCaseVariants(inbound, "argument", ["name", "value"]);
      const edits = { ref, argument, context: withoutCaseVariants(inbound, "context", ["arguments"]) };
      return {
        route,
        request: { method: inbound.method, edits },
        decide() {
          policy.decide(call, call.who, route);
          // Checked only after the decision, because an error would reveal that the target exists.
          requireArgument(inbound);
        },
      };
    },
  };
}

/** Throws `invalid-params` for parts of a completion that its record would not show. */
function requireArgument({ params: { argument, context } }: Call["inbound"]): void {
  const named = isObject(argument) && typeof argument.name === "string" && typeof argument.value === "string";
  if (!named) throw new Failure("invalid-params", '"params.argument" needs a name and a value that are strings.');
  const known = context ?? {};
  if (isObject(known) && isObject(known.arguments ?? {})) return;
  throw new Failure("invalid-params", '"params.context.arguments" is not an object; omit it if there are none.');
}

/** Returns a parameter as written, without members that a case-insensitive server would read as one of `keys`. */
function withoutCaseVariants(inbound: Call["inbound"], name: string, keys: readonly string[]): string | null {
  const text = paramText(inbound, name);
  if (text === null || !isObject(inbound.params[name])) return text;
  return overrideMembers(text, Object.fromEntries(keys.map((key) => [key, rawValue(text, 0, key)])));
}

type Reference = { type: string; kind: Kind; name: unknown; parameter: "name" | "uri" };

function referenceOf({ inbound: { params } }: Call): Reference {
  const ref = isObject(params.ref) ? params.ref : {};
  const { type } = ref;
  if (type === "ref/prompt") return { type, kind: "prompt", name: ref.name, parameter: "name" };
  if (type === "ref/resource") return { type, kind: "resource", name: ref.uri, parameter: "uri" };
  throw new Failure("invalid-params", '"params.ref" is neither a "ref/prompt" nor a "ref/resource".');
}
