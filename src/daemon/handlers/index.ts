import { isDeepStrictEqual } from "node:util";
import type { Answer } from "../../control/api.ts";
import type { Handlers } from "../../control/contract.ts";
import { Refusal } from "../../control/refusal.ts";
import { ConfigError } from "../../config/problem.ts";
import { shownData } from "../../config/show.ts";
import { ownServer } from "../../core/name.ts";
import type { Self } from "../../core/self.ts";
import type { Archive } from "../archive.ts";
import type { Engine } from "../engine.ts";
import { actOf, actorOf } from "./act.ts";
import { attachTo } from "./attach.ts";
import { auditHandlers } from "./audit.ts";
import { keyHandlers } from "./keys.ts";
import { findServer, serverHandlers } from "./servers.ts";
import { configWarnings, consumersOf, statusOf, type Serving } from "./status.ts";
import { tail } from "./tail.ts";
import { callTool, listTools } from "./tools.ts";
import { meteringOf, queueUsage, usageBy } from "./usage.ts";
import { evidenceOf, verifyChains, queueVerification } from "./verify.ts";
import { controlCaller, viewerOf } from "./viewer.ts";
import { whyOf } from "./why.ts";

export type HandlerOptions = {
  readonly engine: Engine;
  readonly archive: Archive;
  readonly self: Self;
  readonly serving: Serving;
  readonly reload: (actor: string) => Promise<void>;
};

/** Returns the daemon's handler for each operation. */
export function createHandlers({ engine, archive, self, serving, reload }: HandlerOptions): Handlers {
  const { stores, current } = engine;
  const { keyring, audit } = stores;
  return {
    ...keyHandlers({
      keyring,
      audit,
      namedRoles: () => engine.loaded().config.policies.flatMap(({ roles }) => roles),
    }),
    ...serverHandlers(engine, serving),
    ...auditHandlers(() => archive),
    recordAct: (ctx, type, facts) => audit.recordEvent(actOf(ctx, type, facts)),
    attach: attachTo(engine),
    status: () => statusOf(engine, self, serving),
    consumers: (_input, ctx) =>
      queueUsage(actorOf(ctx), ctx.signal, async () => ({ consumers: await consumersOf(engine, archive) })),
    tail: (input, ctx) => tail(audit, archive, input, ctx),
    async "tools.list"({ server }, ctx) {
      const viewer = await viewerOf(ctx, current(), keyring);
      // A key holder must not learn which servers exist, so only operators get "not found".
      if (server !== undefined && server !== ownServer && ctx.key === null) findServer(current(), server);
      return listTools(current(), server, viewer);
    },
    async "tools.call"({ tool, arguments: args }, ctx) {
      const controller = engine.running.add();
      try {
        return await callTool(current(), tool, args, controlCaller(ctx, keyring, controller));
      } finally {
        engine.running.delete(controller);
      }
    },
    "audit.verify": (input, ctx) =>
      queueVerification(actorOf(ctx), ctx.signal, () => verifyChains(evidenceOf(engine, archive), input, ctx.signal)),
    usage: (input, ctx) =>
      queueUsage(actorOf(ctx), ctx.signal, () => usageBy(archive, input, meteringOf(engine.loaded().config))),
    why: (input) => {
      const { auth, toolsets } = engine.loaded().config;
      return whyOf({ gw: current(), keyring, toolsets: toolsets.map(({ id }) => id), auth }, input);
    },
    "config.show": () => ({
      file: engine.loaded().file,
      loadedAt: engine.loadedAt(),
      config: shownData(engine.loaded()),
    }),
    "config.reload": (_input, ctx) => ({
      facts: {},
      run: () => reloaded(engine, serving, () => reload(actorOf(ctx))),
    }),
  };
}

/** Reloads and reports whether anything changed; a changed secret counts, even if the file is the same. */
async function reloaded(
  engine: Engine,
  serving: Serving,
  reload: () => Promise<void>,
): Promise<Answer<"config.reload">> {
  const before = engine.loaded();
  await reload().catch((error: unknown) => {
    throw error instanceof ConfigError ? new Refusal("invalid", error.message) : error;
  });
  const { file, digest, config } = engine.loaded();
  const changed = digest !== before.digest || !isDeepStrictEqual(config, before.config);
  return { file, changed, warnings: configWarnings(engine, serving) };
}
