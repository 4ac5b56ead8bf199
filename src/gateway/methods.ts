import type { Call, Kind, Reply, Route } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import type { Era } from "../core/inbound.ts";
import { isRequestMethod, type RequestMethod } from "../core/methods.ts";
import type { UpstreamRequest } from "../core/upstream.ts";
import type { Principal } from "../core/principal.ts";
import { cut, plain } from "../core/text.ts";
import { editObject } from "../mcp/edit.ts";
import { isObject, paramText } from "../mcp/message.ts";
import { discover, initialize, list, ping, setLevel } from "./answers.ts";
import { isExtensionMethod, resolveExtension } from "./extensions.ts";
import type { Gateway } from "./gateway.ts";
import { listen } from "./listen.ts";
import type { Resolved } from "./resolved.ts";
import { subscribe, unsubscribe } from "./subscribe.ts";
import { resolveTask } from "./tasks.ts";

/**
 * What the gateway answers itself, counted but without a begin and an end on record: nothing here has an effect on a
 * server but `subscriptions/listen`, which takes its tokens and has a record of its own, and `resources/unsubscribe`,
 * which can only end what the session itself was granted.
 */
type Own = (gw: Gateway, call: Call, who: Principal) => Reply | Promise<Reply>;

/** A request that goes to a server, and so is decided, limited and recorded. */
export type Governed = {
  /** Whether the thing that the call names exists, whatever the caller's rights; false also while its server is still starting. */
  readonly offered: (gw: Gateway, call: Call, who: Principal) => boolean;
  /** Throws the same for a thing that is missing and one that is hidden from the caller. */
  readonly resolve: (gw: Gateway, call: Call, who: Principal) => Resolved;
  /** Whether it carries the arguments of a tool, which have to fit the tool's schema. */
  readonly checksArguments?: true;
  /** For a subscription, which outlives its request and has one record in place of a begin and an end. */
  readonly opens?: (gw: Gateway, call: Call, who: Principal, route: Route) => Promise<Reply>;
};

type Method = { readonly eras: readonly Era[] } & ({ readonly own: Own } | { readonly governed: Governed });

const legacy: readonly Era[] = ["legacy"];
const modern: readonly Era[] = ["modern"];
const both: readonly Era[] = ["legacy", "modern"];

/** A task is known by the handle that its caller was given. */
const task: Governed = { offered: () => true, resolve: resolveTask };

/** Every method of both eras and how it is answered. */
const methods: Readonly<Record<RequestMethod, Method>> = {
  initialize: { eras: legacy, own: initialize },
  "server/discover": { eras: modern, own: discover },
  ping: { eras: legacy, own: ping },
  "logging/setLevel": { eras: legacy, own: setLevel },
  "tools/list": { eras: both, own: list("tools") },
  "prompts/list": { eras: both, own: list("prompts") },
  "resources/list": { eras: both, own: list("resources") },
  "resources/templates/list": { eras: both, own: list("resourceTemplates") },
  "tools/call": { eras: both, governed: { ...named("tool", "name"), checksArguments: true } },
  "prompts/get": { eras: both, governed: named("prompt", "name") },
  "resources/read": { eras: both, governed: named("resource", "uri") },
  "completion/complete": { eras: both, governed: completion() },
  "resources/subscribe": { eras: legacy, governed: { ...named("resource", "uri"), opens: subscribe } },
  "resources/unsubscribe": { eras: legacy, own: unsubscribe },
  "subscriptions/listen": { eras: modern, own: listen },
  "tasks/get": { eras: modern, governed: task },
  "tasks/update": { eras: modern, governed: task },
  "tasks/cancel": { eras: modern, governed: task },
};

const extension: Method = { eras: both, governed: { offered: () => true, resolve: resolveExtension } };

/** How a request is answered; throws `unknown-method` for what its era or anybody does not know. */
export function methodOf(call: Call): Method {
  const { method, era } = call.inbound;
  if (!isRequestMethod(method)) {
    if (isExtensionMethod(call)) return extension;
    throw new Failure("unknown-method", `This gateway does not serve the method "${plain(cut(method, 100))}".`);
  }
  if (methods[method].eras.includes(era)) return methods[method];
  throw new Failure("unknown-method", `The method "${method}" is not part of this protocol revision.`);
}

/** What a parameter names, which the server knows by the route's own name. */
function named(kind: Kind, parameter: "name" | "uri"): Governed {
  // A route lives as long as what it names is offered.
  const edits = new WeakMap<Route, UpstreamRequest["edits"]>();
  const editsFor = (route: Route): UpstreamRequest["edits"] => {
    let known = edits.get(route);
    if (!known) edits.set(route, (known = { [parameter]: JSON.stringify(route.name) }));
    return known;
  };
  return {
    offered: ({ catalog }, { inbound, scope }, who) => catalog.offers(kind, inbound.params[parameter], scope, who),
    resolve({ catalog, policy }, call, who) {
      const { method, params } = call.inbound;
      const route = catalog.resolve(call, who, kind, params[parameter]);
      return {
        route,
        decide: () => policy.decide(call, who, route),
        request: () => ({ method, edits: editsFor(route) }),
      };
    },
  };
}

/** Completion follows what it completes: a prompt by its name, a resource or template by its URI. */
function completion(): Governed {
  return {
    offered(gw, call, who) {
      const { kind, name } = referenceOf(call);
      return gw.catalog.offers(kind, name, call.scope, who);
    },
    resolve({ catalog, policy }, call, who) {
      const { inbound } = call;
      const { kind, name, parameter } = referenceOf(call);
      const route = catalog.resolve(call, who, kind, name);
      return {
        route,
        decide: () => policy.decide(call, who, route),
        request() {
          const ref = editObject(paramText(inbound, "ref") ?? "{}", { [parameter]: JSON.stringify(route.name) });
          return { method: inbound.method, edits: { ref } };
        },
      };
    },
  };
}

function referenceOf({ inbound: { params } }: Call): { kind: Kind; name: unknown; parameter: "name" | "uri" } {
  const ref = isObject(params.ref) ? params.ref : {};
  if (ref.type === "ref/prompt") return { kind: "prompt", name: ref.name, parameter: "name" };
  if (ref.type === "ref/resource") return { kind: "resource", name: ref.uri, parameter: "uri" };
  throw new Failure("invalid-params", '"params.ref" is neither a "ref/prompt" nor a "ref/resource".');
}
