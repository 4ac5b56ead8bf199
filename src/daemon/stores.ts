import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import type { AuditBroker } from "../audit/broker.ts";
import { openAudit, type OpenAuditOptions } from "../audit/open.ts";
import type { AuditOptions } from "../audit/options.ts";
import { installDir, noteChainPath } from "../audit/outside.ts";
import { loadSigningKey, signingKeyFile } from "../audit/signing-key.ts";
import { Keyring } from "../authn/keyring.ts";
import type { Paths } from "../config/paths.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { lockHolder } from "../core/libc.ts";
import type { Logger } from "../core/log.ts";
import type { Self } from "../core/self.ts";
import { type ListStore, StoreFailed } from "../core/store.ts";
import { retryUntil } from "../core/wait.ts";
import { locksOf, openFreeChain, needRoom, openState, prepareStateDir } from "../store/open.ts";
import type { Sealer } from "../core/ports.ts";
import { loadSealKeys } from "../seal/keys.ts";
import { createSealer } from "../seal/seal.ts";
import { type ChainHome, chainNames, chainPath, statePath } from "../store/sqlite/paths.ts";
import type { StateStore } from "../store/sqlite/state.ts";
import { noteKeysAsOf, rebuildKeys } from "./rebuild.ts";
import { createBallast } from "./ballast.ts";

export type StoresOptions = Pick<OpenAuditOptions, "log" | "secrets" | "fatal"> & {
  readonly paths: Paths;
  readonly audit: AuditOptions & { readonly path: string | null };
  readonly self: Pick<Self, "version">;
  /** Names of the chains to try; the first free one is written: `main`, or those of embedded gateways. */
  readonly chains: readonly string[];
  readonly run: string;
};

/** The contents of a state directory, opened for writing: the audit log, the keys and the cached lists. */
export type Stores = {
  readonly paths: Paths;
  /** The key that signs the installation's checkpoints. */
  readonly publicKey: Uint8Array;
  readonly clock: Clock;
  readonly audit: AuditBroker;
  readonly keyring: Keyring;
  readonly sealer: Sealer;
  readonly lists: ListStore;
  close(): Promise<void>;
};

/** Thrown if other processes are writing all chains that this process may write. */
export class ChainsTaken extends StoreFailed {
  constructor(home: ChainHome, chains: readonly string[]) {
    super(chains.includes("main") ? mainTaken(home) : embeddedTaken(home.state, chains.length));
    this.name = "ChainsTaken";
  }
}

function mainTaken(home: ChainHome): string {
  // This process may already hold one of the locks, so its own pid is skipped.
  const pids = locksOf(home, "main").map(lockHolder);
  const pid = pids.find((holder) => holder !== process.pid) ?? null;
  const who = `another process${pid === null ? "" : ` (pid ${pid})`} is writing the audit log of ${home.state}`;
  const passing = "a daemon that is starting or stopping, or another command (try again in a few seconds)";
  return `${who}: a daemon on another socket (name it with --socket), ${passing}`;
}

const embeddedTaken = (state: string, count: number): string =>
  `${count} gateways without a daemon already run on ${state}, which is the maximum; stop one, or run \`mcpgw daemon\``;

/** How long to wait for a command that works on the same state directory, ms. */
const patience = 3_000;

/** Opens a state directory, creating it if it is missing. Throws `StoreFailed` with advice. */
export async function openStores(options: StoresOptions): Promise<Stores> {
  const { paths, chains, self } = options;
  const { state } = paths;
  const home = { state, main: options.audit.path };
  prepareStateDir(state);
  needRoom(state);
  if (home.main !== null && chains.includes("main")) needRoom(dirname(home.main));
  refuseNewKey(home);
  const keyPair = await loadSigningKey(signingKeyFile(state));
  // Commands write only `main`, so only `main` is worth waiting for.
  const isMain = chains.includes("main");
  const opened = new DisposableStack();
  const chain = opened.use(await retryUntil(() => openFreeChain(home, chains), isMain ? patience : 0));
  if (!chain) throw new ChainsTaken(home, chains);
  const clock = systemClock;
  const ballast = createBallast(state);
  const store = opened.use(openState(state));
  const end = chain.store.last()?.seq ?? 0;
  const countedBeyond = store.usageMark(chain.chain) > end;
  const audit = await openAudit({
    ...options,
    store: chain.store,
    config: options.audit,
    clock,
    stamp: { chain: chain.chain, boot: options.run, node: hostname(), ver: self.version },
    keyPair,
    headsDir: paths.heads,
  });
  // The log is an older copy, so sequences that were already counted will be reused for other calls.
  if (countedBeyond) store.setUsageMark(chain.chain, end);
  if (isMain) await noteChainPath(installDir(paths.heads, keyPair.publicKey), "main", home.main);
  await rebuildKeys({ store, home, audit, log: options.log });
  const keyring = opened.use(new Keyring({ store, clock, makeRoom: ballast.give }));
  if (isMain) followLog(store, audit, keyring);
  const sealKeys = await loadSealKeys(join(state, "seal.key"), Date.now());
  return {
    paths,
    publicKey: keyPair.publicKey,
    clock,
    audit,
    keyring,
    sealer: createSealer(sealKeys, clock),
    lists: store,
    async close() {
      if (audit.health().backlog > 0) ballast.giveAll();
      const unsaved = keyring.saveRest();
      await audit.close();
      if (isMain && keyring.saved) noteKeysAsOf(store, audit.health().records + 1);
      logLostActs(options.log, unsaved, audit.health().backlog);
      opened.dispose();
    },
  };
}

/** Throws if a new signing key would be created for a log that was started with another key, which is missing. */
function refuseNewKey(home: ChainHome): void {
  const key = signingKeyFile(home.state);
  if (existsSync(key)) return;
  const begun = chainNames(home).map((chain) => chainPath(home, chain));
  if (storeKnowsLog(home.state)) begun.push(statePath(home.state));
  // Checked again, because a gateway that starts at the same time creates the key first.
  if (begun.length === 0 || existsSync(key)) return;
  throw new StoreFailed(
    `${key} is missing, but a log was started with it: ${begun.join(", ")}. Restore the key; or, to start over without ` +
      "that log and its keys, move these files away together, each with its -wal, and keep them as evidence.",
  );
}

function storeKnowsLog(state: string): boolean {
  if (!existsSync(statePath(state))) return false;
  using store = openState(state);
  return store.keysAsOf() > 0;
}

/** Number of records between updates of the store's `keysAsOf`: fast to read at startup, and the store syncs rarely. */
const keysAsOfInterval = 20_000;

/** Advances `keysAsOf`, well behind the newest record, because a rotation is recorded before it revokes the old key. */
function followLog(store: StateStore, audit: AuditBroker, keyring: Keyring): void {
  let known = store.keysAsOf();
  audit.onDurable((seq) => {
    if (seq < known + 2 * keysAsOfInterval || !keyring.saved) return;
    known = seq - keysAsOfInterval;
    noteKeysAsOf(store, known);
  });
}

/** Logs what is lost when this process ends: acts that are in neither the store nor the log. */
function logLostActs(log: Logger, { freeze, revocations }: ReturnType<Keyring["saveRest"]>, acts: number): void {
  if (acts === 0) return;
  log.error("acts took effect but could not be recorded; they will be missing from the log", { acts });
  if (!freeze && revocations === 0) return;
  const what = `${freeze ? "a freeze and " : ""}${revocations} revocations`;
  log.error(`${what} took effect but could not be stored: they end with this process`, { freeze, revocations });
}
