import { exitIfStuck } from "../audit/answered.ts";
import { Keyring } from "../authn/keyring.ts";
import type { Flags } from "../config/paths.ts";
import { operations, type Answer } from "../control/api.ts";
import type { Client, Context, Handlers } from "../control/contract.ts";
import type { AuditEvent } from "../core/event.ts";
import { localClient } from "../control/local.ts";
import { Refusal, Unreachable } from "../control/refusal.ts";
import { systemClock } from "../core/clock.ts";
import { codeOf } from "../core/error-text.ts";
import { type Logger, silent } from "../core/log.ts";
import type { Self } from "../core/self.ts";
import { StoreFailed } from "../core/store.ts";
import { plain } from "../core/text.ts";
import { openState } from "../store/open.ts";
import { statePath } from "../store/sqlite/paths.ts";
import { openReader } from "../store/sqlite/reader.ts";
import { readUsage } from "../store/sqlite/usage.ts";
import { archiveOf } from "./archive.ts";
import { actOf } from "./handlers/act.ts";
import { auditHandlers } from "./handlers/audit.ts";
import { keyHandlers, listKeys } from "./handlers/keys.ts";
import { usageBy } from "./handlers/usage.ts";
import { verifyChains } from "./handlers/verify.ts";
import {
  checkChainKnown,
  checkChange,
  findState,
  homeOf,
  type OfflineState,
  publicKeyIn,
  refuseEmpty,
} from "./offline-state.ts";
import { restartWithRoom } from "./process.ts";
import { ChainsTaken, openStores, type Stores } from "./stores.ts";
import { withUncounted } from "./uncounted-usage.ts";

/** Returns a client that answers reads and key commands from the state directory. Other commands need the daemon. */
export async function openOffline(flags: Flags, self: Self): Promise<Client> {
  const state = findState(flags);
  const { paths, audit } = state;
  let stores: Promise<Stores> | null = null;
  /** Only creating a key may create a state directory: any other change to an empty one would reach no gateway. */
  const opened = (begin = false) => (stores ??= openWith(state, begin, self));
  const archive = () => writtenArchive(state);
  const keys = async (begin = false) => {
    const { keyring, audit: log } = await opened(begin);
    const recordDone = async (act: AuditEvent): Promise<boolean> => {
      if (keyring.saved) return log.recordDone(act);
      // An unstored change would be lost when this process ends; one that is stored at exit would not be recorded.
      keyring.giveUp();
      throw new Refusal("unavailable", "the keys cannot be stored now, so nothing was changed");
    };
    const recording = { recordEvent: (act: AuditEvent) => log.recordEvent(act), recordDone };
    return keyHandlers({ keyring, audit: recording, namedRoles: () => state.roles });
  };
  const handlers: Partial<Handlers> = {
    recordAct: async (ctx, type, facts) => (await opened()).audit.recordEvent(actOf(ctx, type, facts)),
    "keys.create": async (input, ctx) => (await keys(true))["keys.create"](input, ctx),
    "keys.list": async () =>
      opened().then(
        ({ keyring }) => listKeys(keyring),
        (error: unknown) => {
          const why = whyOnlyStored(error);
          if (why === null) throw error;
          return storedKeys(state, why);
        },
      ),
    "keys.revoke": async (input, ctx) => (await keys())["keys.revoke"](input, ctx),
    "keys.rotate": async (input, ctx) => (await keys())["keys.rotate"](input, ctx),
    "keys.freeze": async (input, ctx) => (await keys())["keys.freeze"](input, ctx),
    "keys.unfreeze": async (input, ctx) => (await keys())["keys.unfreeze"](input, ctx),
    ...auditHandlers(archive),
    usage: (input) => usageBy(archive(), input, state.metering),
    async "audit.verify"(input, { signal }) {
      checkChainKnown(state);
      const publicKey = publicKeyIn(homeOf(state));
      const checkpoints = audit.checkpoints.map(({ file }) => file);
      return verifyChains({ archive: archiveIn(state), publicKey, heads: paths.heads, checkpoints }, input, signal);
    },
  };
  const close = () =>
    void Promise.resolve(stores)
      .then((open) => open?.close())
      // The command has already reported why the state directory could not be opened.
      .catch(() => {})
      .then(exitIfStuck);
  return localClient(complete(handlers), here(), close);
}

const warn: Logger["warn"] = (message, facts = {}) => {
  const more = Object.entries(facts).map(([name, value]) => `, ${name} ${value}`);
  process.stderr.write(`mcpgw: warning: ${plain(`${message}${more.join("")}`)}\n`);
};

/** Writes warnings and errors of the stores to standard error; a command has no log for anything else. */
const commandLog: Logger = { ...silent, warn, error: warn };

async function openWith(state: OfflineState, begin: boolean, self: Self): Promise<Stores> {
  const { paths, audit, takeKeys } = state;
  // A hung checkpoint file occupies a thread that other files need. Commands that only read skip the restart, because
  // data on standard input or a descriptor would not survive it. Output before the restart would appear twice.
  if (audit.checkpoints.length > 0) restartWithRoom(self);
  checkChange(state, begin);
  const run = crypto.randomUUID();
  const fatal = (reason: string) => {
    process.stderr.write(`mcpgw: the disk failed under the audit log: ${reason}\n`);
    process.exit(1);
  };
  const stores = await openStores({
    paths,
    audit,
    self,
    log: commandLog,
    chains: ["main"],
    run,
    secrets: () => [],
    fatal,
  });
  takeKeys(stores.keyring);
  return stores;
}

const isReadOnly = (error: unknown): boolean =>
  codeOf(error) === "EROFS" || (error instanceof StoreFailed && codeOf(error.cause) === "EROFS");

/** Returns why keys can only be listed as stored; null if the error has another cause. */
function whyOnlyStored(error: unknown): string | null {
  if (isReadOnly(error)) return "it is read-only";
  return error instanceof ChainsTaken ? "another process is writing its audit log" : null;
}

/** Lists the keys as stored, for a store that cannot be brought up to date with the log. */
function storedKeys({ paths, takeKeys }: OfflineState, why: string): Answer<"keys.list"> {
  const doubt = "a revocation or freeze that was not stored because the gateway was killed is missing";
  warn(`${paths.state}: ${why}, so these are the keys as stored; ${doubt}`);
  using store = openState(paths.state);
  using keyring = new Keyring({ store, clock: systemClock });
  takeKeys(keyring);
  return listKeys(keyring);
}

/** Throws a `Refusal` if nothing is recorded. */
function writtenArchive(state: OfflineState) {
  checkChainKnown(state);
  const archive = archiveIn(state);
  if (archive.chains().length === 0) refuseEmpty(state.paths.state);
  return archive;
}

function archiveIn(state: OfflineState) {
  const reader = openReader(homeOf(state));
  const reach = (chain: string): number => reader.last(chain)?.seq ?? 0;
  const uncounted = { metered: state.metering.metered, reach };
  const db = statePath(state.paths.state);
  return archiveOf(reader, (query) => withUncounted(reader, readUsage(db, query), query, uncounted));
}

/** Returns the context of the user who runs the command; file permissions limit what that user may do. */
function here(): Context {
  const uid = process.getuid?.() ?? 0;
  const [gid, groups] = [process.getgid?.() ?? 0, process.getgroups?.() ?? []];
  const peer = { uid, gid, pid: process.pid, groups, access: "admin" } as const;
  return { peer, key: null, signal: new AbortController().signal };
}

function complete(handlers: Partial<Handlers>): Handlers {
  const offline = (name: string) => () => {
    throw new Unreachable(`${name} needs a running daemon, and none answers; start one with \`mcpgw daemon\``);
  };
  const missing = Object.keys(operations).filter((name) => !(name in handlers));
  // Every operation is present: a given handler, or one that refuses.
  return { ...Object.fromEntries(missing.map((name) => [name, offline(name)])), ...handlers } as Handlers;
}
