import { endUnanswered } from "../audit/answered.ts";
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

/** Answers reads and key commands from the state directory. All else needs running servers, so it needs the daemon. */
export async function openOffline(flags: Flags, self: Self): Promise<Client> {
  const state = findState(flags);
  const { paths, audit } = state;
  let stores: Promise<Stores> | null = null;
  /** Only a first key may begin a state directory: a change to one where nothing is would reach no gateway. */
  const opened = (begin = false) => (stores ??= openWith(state, begin, self));
  const archive = () => writtenArchive(state);
  const keys = async (begin = false) => {
    const { keyring, audit: log } = await opened(begin);
    const recordDone = async (act: AuditEvent): Promise<boolean> => {
      if (keyring.saved) return log.recordDone(act);
      // A change that is not stored would end with this process; one that is stored as it ends would be on no record.
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
      // The command has been told already why the state directory could not be opened.
      .catch(() => {})
      .then(endUnanswered);
  return localClient(complete(handlers), here(), close);
}

const warn: Logger["warn"] = (message, facts = {}) => {
  const more = Object.entries(facts).map(([name, value]) => `, ${name} ${value}`);
  process.stderr.write(`mcpgw: warning: ${plain(`${message}${more.join("")}`)}\n`);
};

/** What goes wrong with the stores; a command has no log for all else. */
const commandLog: Logger = { ...silent, warn, error: warn };

async function openWith(state: OfflineState, begin: boolean, self: Self): Promise<Stores> {
  const { paths, audit, takeKeys } = state;
  // Each file of checkpoints that does not answer takes a thread away from all other files. Commands that only read do
  // without: what they were given on standard input or as a descriptor would not outlive the restart. Whatever is said
  // before the restart would be said twice.
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

/** Why keys can only be listed as they are stored; null where the error says something else. */
function whyOnlyStored(error: unknown): string | null {
  if (isReadOnly(error)) return "it is read-only";
  return error instanceof ChainsTaken ? "another process is writing its audit log" : null;
}

/** The keys as they are stored, where the store cannot be brought up to what the log says. */
function storedKeys({ paths, takeKeys }: OfflineState, why: string): Answer<"keys.list"> {
  const doubt = "a revocation or freeze that a kill kept from being stored is not among them";
  warn(`${paths.state}: ${why}, so these are the keys as stored; ${doubt}`);
  using store = openState(paths.state);
  using keyring = new Keyring({ store, clock: systemClock });
  takeKeys(keyring);
  return listKeys(keyring);
}

/** Throws a `Refusal` where nothing is recorded. */
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

/** The invoker, who may do what the files let it do. */
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
  // Every name of the table is there now: the handlers given, and a refusal for each of the rest.
  return { ...Object.fromEntries(missing.map((name) => [name, offline(name)])), ...handlers } as Handlers;
}
