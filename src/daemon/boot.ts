import type { Logger } from "../core/log.ts";
import type { Self } from "../core/self.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { gatewayTools } from "../serve/gateway-tools.ts";
import { type Archive, archiveBy } from "./archive.ts";
import { endPreviousRun } from "../upstream/process/previous-run.ts";
import type { Installation } from "./configuration.ts";
import { type Engine, startEngine } from "./engine.ts";
import { type Ground, openGround } from "./ground.ts";
import { viewerHandlers } from "./handlers/index.ts";
import { HousekeeperClient } from "./housekeeping.ts";

export type BootOptions = {
  readonly installation: Installation;
  readonly self: Self;
  readonly log: Logger;
  /** Chains to write, the first that is free. */
  readonly chains: readonly string[];
  /** Throws when nobody is to be served, before a server is started. */
  readonly admit?: (gateway: Gateway, ground: Ground) => void;
};

export type Booted = { readonly engine: Engine; readonly archive: Archive; close(): Promise<void> };

/** Everything under the listeners: state directory, evidence, housekeeping, engine; children of a dead run are gone. */
export async function boot({ installation, self, log, chains, admit }: BootOptions): Promise<Booted> {
  const { loaded, paths } = installation;
  const run = crypto.randomUUID();
  let engine: Engine | null = null;
  const ground = await openGround({
    paths,
    audit: loaded.config.audit,
    self,
    log,
    chains,
    run,
    secrets: () => (engine?.loaded() ?? loaded).secrets,
    fatal: (reason) => endNow(log, reason),
  });
  await endPreviousRun(paths.state, ground.audit.chain, run, log);
  const keeper = new HousekeeperClient({
    url: self.housekeeper,
    stateDir: paths.state,
    main: loaded.config.audit.path,
    chain: ground.audit.chain,
    usage: loaded.config.usage.enabled,
    log,
  });
  ground.audit.onDurable(keeper.wake);
  const archive = archiveBy(keeper, paths.state, loaded.config.audit.path);
  const started = (): Engine => {
    if (!engine) throw new Error("the engine is not started");
    return engine;
  };
  const tools = gatewayTools(viewerHandlers(started, archive), (who) =>
    started().current().policy.permits(who, "mcpgw:audit_all"),
  );
  try {
    engine = await startEngine({
      ground,
      loaded,
      self,
      log,
      run,
      local: [tools],
      admit: (gateway) => admit?.(gateway, ground),
    });
    // So that the very first verification has something to prove the chain by.
    await ground.audit.checkpoint();
  } catch (error) {
    await (engine ?? ground).close();
    await keeper.close();
    throw error;
  }
  return {
    engine,
    archive,
    async close() {
      await engine?.close();
      await keeper.close();
    },
  };
}

function endNow(log: Logger, reason: string): never {
  log.error("the disk failed under the audit log; ending at once, since what was written may be gone", { reason });
  process.exit(1);
}
