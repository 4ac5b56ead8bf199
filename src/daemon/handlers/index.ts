import { isDeepStrictEqual } from "node:util";
import type { Output } from "../../control/api.ts";
import type { Handlers } from "../../control/contract.ts";
import { Refusal } from "../../control/refusal.ts";
import type { Loaded } from "../../config/load.ts";
import { ConfigError } from "../../config/problem.ts";
import { shownConfig } from "../../config/explain.ts";
import type { ServerStatus } from "../../core/upstream.ts";
import type { Self } from "../../core/self.ts";
import { anyOf } from "../../core/name.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import type { Viewer, ViewerHandlers } from "../../serve/gateway-tools.ts";
import type { Archive } from "../archive.ts";
import type { Engine } from "../engine.ts";
import { auditHandlers, auditLog } from "./audit.ts";
import { keyHandlers } from "./keys.ts";
import { recordDoneWith, recordActWith } from "./record-act.ts";
import { counts, findServer, noServer, serverHandlers } from "./servers.ts";
import { statsOf } from "./stats.ts";
import { configWarnings, consumersOf, statusOf, type Serving } from "./status.ts";
import { tail } from "./tail.ts";
import { callTool, listTools, nestedCall } from "./tools.ts";
import { usageBy } from "./usage.ts";
import { type Evidence, verifyChains } from "./verify.ts";
import { callerOf, viewerOf } from "./viewer.ts";
import { whyOf } from "./why.ts";

export type HandlerDeps = {
  readonly engine: Engine;
  readonly archive: Archive;
  readonly self: Self;
  readonly serving: Serving;
  /** Loads the configuration file again and puts it into force. */
  readonly reload: () => Promise<void>;
  readonly attach: Handlers["attach"];
};

/** What the daemon does for each operation of the table. */
export function createHandlers({ engine, archive, self, serving, reload, attach }: HandlerDeps): Handlers {
  const { stores, current } = engine;
  const { keyring, audit } = stores;
  const recordAct = recordActWith(audit);
  const startedAt = Date.now();
  return {
    ...keyHandlers({
      keyring,
      recordAct,
      recordDone: recordDoneWith(audit),
      namedRoles: () => rolesIn(engine.loaded()),
    }),
    ...serverHandlers({ current, controls: engine.upstreams }),
    ...auditHandlers(archive),
    recordAct,
    attach,
    status: () => statusOf(engine, self, serving, startedAt),
    consumers: async () => ({ consumers: await consumersOf(engine, archive) }),
    tail: (input, { signal }) => tail(audit, archive, input, signal),
    "tools.list": ({ server }, ctx) => listTools(current(), server, viewerOf(ctx, current(), keyring)),
    async "tools.call"({ tool, arguments: args }, ctx) {
      const controller = engine.running.add();
      try {
        return await callTool(current(), tool, args, callerOf(ctx, keyring, controller));
      } finally {
        engine.running.delete(controller);
      }
    },
    "audit.log": (input) => auditLog(archive, input, null),
    "audit.stats": (input) => statsOf(archive, input, null),
    "audit.verify": (input) => verifyChains(evidenceOf(engine, archive), input),
    usage: (input) => usageBy(archive, input, engine.loaded().config.usage.enabled),
    why: (input) => whyOf({ gw: current(), keyring, auth: engine.loaded().config.auth }, input),
    "config.show": () => ({
      file: engine.loaded().file,
      loadedAt: engine.loadedAt(),
      config: shownConfig(engine.loaded()),
    }),
    "config.reload": () => ({ facts: {}, run: () => reloaded(engine, serving, reload) }),
  };
}

/** Secrets are part of what is in force: a file that reads as before may mean something else. */
async function reloaded(
  engine: Engine,
  serving: Serving,
  reload: HandlerDeps["reload"],
): Promise<Output<"config.reload">> {
  const before = engine.loaded();
  await reload().catch((error: unknown) => {
    throw error instanceof ConfigError ? new Refusal("invalid", error.message) : error;
  });
  const { file, digest, config } = engine.loaded();
  const changed = digest !== before.digest || !isDeepStrictEqual(config, before.config);
  return { file, changed, warnings: configWarnings(engine, serving) };
}

function evidenceOf({ stores, loaded }: Engine, archive: Archive): Evidence {
  const checkpoints = loaded().config.audit.checkpoints.map(({ file }) => file);
  return { archive, install: stores.install, heads: stores.paths.heads, checkpoints };
}

/** The operations that callers may use as MCP tools, in their own eyes. */
export function viewerHandlers(engine: () => Engine, archive: Archive): ViewerHandlers {
  const own = <T extends { consumer?: string | undefined }>(input: T, consumer: string | null): T => {
    if (consumer === null || input.consumer === undefined || input.consumer === consumer)
      return narrowed(input, consumer);
    throw new Refusal(
      "denied",
      `you are shown what consumer ${consumer} did, nobody else's; a rule that allows mcpgw:audit_all shows all`,
    );
  };
  return {
    "servers.list": (_input, viewer) => {
      const gw = engine().current();
      return {
        servers: gw.upstreams
          .status()
          .filter(({ id }) => sees(gw, viewer, id))
          .map((server) => shownTo(viewer, server)),
      };
    },
    "servers.show": ({ id }, viewer) => {
      const gw = engine().current();
      // The same words as for a server that does not exist: a caller without rights on it may not learn its state.
      if (!sees(gw, viewer, id)) throw noServer(id);
      const { who, call } = viewer;
      const others = counts(gw, id, (route) => gw.policy.lists(who, route, call?.source));
      const { tools } = listTools(gw, id, viewer);
      return { server: shownTo(viewer, findServer(gw, id)), tools, others: { ...others, hidden: [] } };
    },
    "tools.list": ({ server }, viewer) => listTools(engine().current(), server, viewer),
    "tools.call": (input, viewer) => nestedCall(() => engine().current())(input, viewer),
    "audit.log": (input, { consumer }) => auditLog(archive, own(input, consumer), consumer),
    "audit.stats": (input, { consumer }) => statsOf(archive, input, consumer),
    "audit.verify": (input) => verifyChains(evidenceOf(engine(), archive), input),
    usage: (input, { consumer }) => usageBy(archive, own(input, consumer), engine().loaded().config.usage.enabled),
  };
}

/** The roles that some policy names. */
const rolesIn = ({ config }: Pick<Loaded, "config">): string[] => config.policies.flatMap(({ roles }) => roles);

const narrowed = <T extends { consumer?: string | undefined }>(input: T, consumer: string | null): T =>
  consumer === null ? input : { ...input, consumer };

/** Whether a caller has any right on a server, or may see what everybody does. */
function sees({ policy }: Gateway, { who, consumer, call }: Viewer, server: string): boolean {
  if (consumer === null) return true;
  return kinds.some((kind) => policy.lists(who, anyOf(kind, server), call?.source));
}

const kinds = ["tool", "prompt", "resource", "extension"] as const;

/** Processes of the gateway's host mean nothing to a caller, and other callers are none of its business. */
const shownTo = ({ who, consumer }: Viewer, server: ServerStatus): ServerStatus => ({
  ...server,
  pids: [],
  down: server.down.filter(({ owner }) => consumer === null || owner === null || owner === who.id),
});
