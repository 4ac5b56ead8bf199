import type { Logger } from "../core/log.ts";
import type { Self } from "../core/self.ts";
import { gatewayTools } from "../serve/gateway-tools.ts";
import { endPreviousRun } from "../upstream/process/previous-run.ts";
import type { Installation } from "./installation.ts";
import { type Engine, type EngineOptions, startEngine } from "./engine.ts";
import { HousekeeperClient } from "./housekeeper-client.ts";
import { openStores } from "./stores.ts";
import { viewerHandlers } from "./handlers/viewer.ts";
import { liveArchive } from "./live-archive.ts";

export type BootOptions = {
  readonly installation: Installation;
  readonly self: Self;
  readonly log: Logger;
  /** Names of the chains to try; the first free one is written. */
  readonly chains: readonly string[];
} & Pick<EngineOptions, "admit">;

/** Starts everything below the listeners, from state directory to engine, and ends child processes of a crashed run. */
export async function boot({ installation, self, log, chains, admit }: BootOptions) {
  const { loaded, paths } = installation;
  const run = crypto.randomUUID();
  let engine: Engine | null = null;
  const fatal = (reason: string) => endNow(log, reason);
  const stores = await openStores({
    paths,
    audit: loaded.config.audit,
    self,
    log,
    chains,
    run,
    secrets: () => (engine?.loaded() ?? loaded).secrets,
    fatal,
  });
  await endPreviousRun(paths.state, stores.audit.chain, run, log);
  const home = { state: paths.state, main: loaded.config.audit.path };
  const keeper = new HousekeeperClient({
    url: self.housekeeper,
    home,
    chain: stores.audit.chain,
    usage: loaded.config.usage.enabled,
    log,
    fatal,
  });
  stores.audit.onDurable(keeper.wake);
  const archive = liveArchive(keeper, stores.audit, home);
  const started = (): Engine => {
    if (!engine) throw new Error("the engine is not started");
    return engine;
  };
  const tools = gatewayTools(viewerHandlers(started, archive), (who, source) =>
    started().current().policy.permits(who, "audit_all", source),
  );
  const close = async (): Promise<void> => {
    try {
      await (engine ?? stores).close();
    } finally {
      await keeper.close();
    }
  };
  try {
    engine = await startEngine({ stores, loaded, self, log, run, local: [tools], admit });
    // Gives even the first verification a checkpoint to check the chain against.
    await stores.audit.checkpoint();
  } catch (error) {
    await close();
    throw error;
  }
  return { engine, archive, close };
}

function endNow(log: Logger, reason: string): never {
  log.error("the disk failed under the audit log; exiting at once, because written records may be lost", { reason });
  process.exit(1);
}
