import { existsSync } from "node:fs";
import { join } from "node:path";
import { endUnanswered } from "../audit/answered.ts";
import { installOf } from "../audit/checkpoint.ts";
import { signingKeyIn } from "../audit/open.ts";
import { auditOptions, type AuditOptions } from "../audit/options.ts";
import { installDir, notedPlace } from "../audit/outside.ts";
import { Keyring } from "../authn/keyring.ts";
import type { KeyOptions } from "../authn/options.ts";
import { ConfigError } from "../config/problem.ts";
import { chosenPaths, clientSocket, type Paths, resolvePaths, thisHost, passedOver } from "../config/paths.ts";
import { operations, type Answer } from "../control/api.ts";
import type { Client, Context, Handlers } from "../control/contract.ts";
import { localClient } from "../control/local.ts";
import { Refusal, Unreachable } from "../control/refusal.ts";
import type { GlobalOptions } from "../core/global-options.ts";
import { systemClock } from "../core/clock.ts";
import { codeOf } from "../core/error-text.ts";
import { type Logger, silent } from "../core/log.ts";
import type { Self } from "../core/self.ts";
import { StoreFailed } from "../core/store.ts";
import { plain } from "../core/text.ts";
import { openState } from "../store/open.ts";
import { type ChainHome, chainPath, openReader } from "../store/sqlite/reader.ts";
import { readUsage } from "../store/sqlite/usage.ts";
import { archiveOf } from "./archive.ts";
import { openOwnParts } from "./configuration.ts";
import { restartWithRoom } from "./process.ts";
import { ChainsTaken, openStores, type Stores } from "./stores.ts";
import { withUncounted } from "./uncounted.ts";
import { auditHandlers, auditLog } from "./handlers/audit.ts";
import { keyHandlers, listKeys } from "./handlers/keys.ts";
import { type RecordDone, recordDoneWith, recordActWith } from "./handlers/record-act.ts";
import { statsOf } from "./handlers/stats.ts";
import { type Metering, tagsOf, usageBy } from "./handlers/usage.ts";
import { verifyChains } from "./handlers/verify.ts";

/** What is known without a daemon: the places, and the configuration where there is one. */
type Known = {
  readonly paths: Paths;
  /** Where no daemon answered. */
  readonly socket: string;
  readonly audit: AuditOptions & { readonly path: string | null };
  readonly keys: readonly KeyOptions[];
  readonly metering: Metering;
  /** The roles that policies name; null where that is not known. */
  readonly roles: readonly string[] | null;
  /** Why the configuration cannot be used, so that what it says is unknown; null when it can. */
  readonly fault: ConfigError | null;
};

/** Answers reads and key commands from the state directory. All else needs running servers, so it needs the daemon. */
export async function openOffline(flags: GlobalOptions, self: Self): Promise<Client> {
  const known = look(flags);
  const { paths, audit } = known;
  let stores: Promise<Stores> | null = null;
  /** Only a first key may begin a state directory: a change to one where nothing is would reach no gateway. */
  const opened = (begin = false) => (stores ??= openWith(known, begin, self));
  const archive = () => archiveAt(known);
  const recordAct: Handlers["recordAct"] = async (...given) => recordActWith((await opened()).audit)(...given);
  const keys = async (begin = false) => {
    const { keyring, audit: log } = await opened(begin);
    const recordDone: RecordDone = async (...act) => {
      // A change that cannot be stored would end with this process.
      if (!keyring.saved) throw new Refusal("unavailable", "the keys cannot be stored now, so nothing was changed");
      return recordDoneWith(log)(...act);
    };
    return keyHandlers({ keyring, recordAct, recordDone, namedRoles: () => known.roles });
  };
  const handlers: Partial<Handlers> = {
    recordAct,
    "keys.create": async (input, ctx) => (await keys(true))["keys.create"](input, ctx),
    "keys.list": async () =>
      opened().then(
        ({ keyring }) => listKeys(keyring),
        (error: unknown) => {
          const why = whyOnlyStored(error);
          if (why === null) throw error;
          return storedKeys(known, why);
        },
      ),
    "keys.revoke": async (input, ctx) => (await keys())["keys.revoke"](input, ctx),
    "keys.rotate": async (input, ctx) => (await keys())["keys.rotate"](input, ctx),
    "keys.freeze": async (input, ctx) => (await keys())["keys.freeze"](input, ctx),
    "keys.unfreeze": async (input, ctx) => (await keys())["keys.unfreeze"](input, ctx),
    "audit.show": (input, ctx) => auditHandlers(archive())["audit.show"](input, ctx),
    "audit.export": (input, ctx) => auditHandlers(archive())["audit.export"](input, ctx),
    "audit.log": (input) => auditLog(archive(), input),
    "audit.stats": (input) => statsOf(archive(), input, null),
    usage: (input) => usageBy(archive(), input, known.metering),
    async "audit.verify"(input) {
      refuseUnknownChain(known);
      const publicKey = publicKeyIn(paths.state);
      const checkpoints = audit.checkpoints.map(({ file }) => file);
      return verifyChains({ archive: archiveIn(known), publicKey, heads: paths.heads, checkpoints }, input);
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

function look(flags: GlobalOptions): Known {
  const host = thisHost();
  let fault: ConfigError | null = null;
  try {
    const found = openOwnParts({ ...flags, local: false }, host);
    if (found) {
      const { audit, auth, policies, usage } = found.own;
      const roles = policies.flatMap((policy) => policy.roles);
      const metering = { metered: usage.enabled, tags: () => tagsOf(found.tagged()) };
      return { paths: found.paths, socket: found.socket, audit, keys: auth.keys, metering, roles, fault };
    }
  } catch (error) {
    // Keys and records can still be read as long as it is known which state directory is meant.
    if (!(error instanceof ConfigError) || chosenPaths(host, flags).state === undefined) throw error;
    fault = error;
    process.stderr.write(`mcpgw: warning: going on without the configuration:\n${indented(error.message)}\n`);
  }
  const chosen = chosenPaths(host, flags);
  const paths = resolvePaths(host, chosen);
  return {
    paths,
    socket: clientSocket(host, chosen),
    audit: { ...auditOptions.parse({}), path: placeOfMain(paths) },
    keys: [],
    metering: { metered: true, tags: () => unknownTags(fault) },
    roles: null,
    fault,
  };
}

/** Without them, every server would seem to have none. */
function unknownTags(fault: ConfigError | null): never {
  throw fault ?? new Refusal("invalid", "the configuration says what servers are tagged with: name it with --config");
}

/** Says which state directory is meant, since no daemon was asked; throws a `Refusal` where nothing is in it. */
function sayOffline(known: Known, begin: boolean): void {
  const { socket, roles, fault } = known;
  const { state } = known.paths;
  const lost = `no daemon answers at ${socket}`;
  // One that was named and cannot be used was not passed over.
  const near = roles === null && fault === null ? passedOver(process.cwd()) : "";
  const isEmpty = !existsSync(join(state, "mcpgw.db")) && !hasMain(known);
  if (isEmpty && !begin) {
    const start = "start a gateway with this configuration first, or give --state or --socket";
    const instead = roles === null ? `give --config, --state or --socket${near}` : start;
    throw new Refusal("invalid", `${lost}, and nothing is in ${state}: ${instead}`);
  }
  const doing = isEmpty ? "nothing is there yet, so this begins" : "going by what is in";
  process.stderr.write(`mcpgw: ${plain(`${lost}; ${doing} ${state}${near}`)}\n`);
}

const indented = (text: string): string => text.replace(/^.*$/gm, (line) => `  ${plain(line)}`);

const tell: Logger["warn"] = (message, facts = {}) => {
  const more = Object.entries(facts).map(([name, value]) => `, ${name} ${value}`);
  process.stderr.write(`mcpgw: warning: ${plain(`${message}${more.join("")}`)}\n`);
};

/** What goes wrong with the stores; a command has no log for all else. */
const told: Logger = { ...silent, warn: tell, error: tell };

async function openWith(known: Known, begin: boolean, self: Self): Promise<Stores> {
  const { paths, audit, keys } = known;
  // Each file of checkpoints that does not answer takes a thread away from all other files. Commands that only read do
  // without: what they were given on standard input or as a descriptor would not outlive the restart. Whatever is said
  // before the restart would be said twice.
  if (audit.checkpoints.length > 0) restartWithRoom(self);
  sayOffline(known, begin);
  refuseUnknownChain(known);
  refuseSecondChain(known);
  const run = crypto.randomUUID();
  const fatal = (reason: string) => {
    process.stderr.write(`mcpgw: the disk failed under the audit log: ${reason}\n`);
    process.exit(1);
  };
  const stores = await openStores({
    paths,
    audit,
    self,
    log: told,
    chains: ["main"],
    run,
    secrets: () => [],
    fatal,
  });
  stores.keyring.apply(stores.keyring.prepare(keys));
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
function storedKeys({ paths, keys }: Known, why: string): Answer<"keys.list"> {
  const doubt = "a revocation or freeze that a kill kept from being stored is not among them";
  process.stderr.write(`mcpgw: warning: ${paths.state}: ${why}, so these are the keys as stored; ${doubt}\n`);
  using store = openState(paths.state);
  using keyring = new Keyring({ store, clock: systemClock });
  keyring.apply(keyring.prepare(keys));
  return listKeys(keyring);
}

/** Where the last writer of the daemon's chain noted that it lies; null: in the state directory. */
function placeOfMain({ state, heads }: Paths): string | null {
  if (!existsSync(join(state, "signing.key"))) return null;
  return notedPlace(installDir(heads, installOf(publicKeyIn(state))), "main");
}

const homeOf = ({ paths, audit }: Known): ChainHome => ({ state: paths.state, main: audit.path });
const hasMain = (known: Known): boolean => existsSync(chainPath(homeOf(known), "main"));

/** Throws where the configuration cannot be read and the chain is not found: `audit.path` may name another place. */
function refuseUnknownChain(known: Known): void {
  if (known.fault && !hasMain(known)) throw known.fault;
}

/** Throws where a second chain would be begun beside the one that nothing here leads to. */
function refuseSecondChain(known: Known): void {
  const { state } = known.paths;
  if (known.roles !== null || hasMain(known)) return;
  // Its writer leaves one of its locks there, wherever the chain lies.
  if (!existsSync(join(state, "audit", "main.lock"))) return;
  const elsewhere = `the audit log of ${state} is not in it: if it lies elsewhere, name its configuration with --config`;
  throw new Refusal("invalid", elsewhere);
}

function publicKeyIn(stateDir: string): Uint8Array {
  const file = join(stateDir, "signing.key");
  if (!existsSync(stateDir)) throw nothingIn(stateDir);
  if (!existsSync(file)) {
    const instead = "`mcpgw audit export --out FILE`, then `audit verify --jsonl FILE --pubkey KEY --checkpoint FILE`";
    const lost = `${file} is missing: nothing says whose log this is`;
    throw new Refusal("not-found", `${lost}; restore it, or check an export by what was kept elsewhere: ${instead}`);
  }
  return signingKeyIn(file).publicKey;
}

function archiveAt(known: Known) {
  refuseUnknownChain(known);
  const archive = archiveIn(known);
  if (archive.chains().length === 0) throw nothingIn(known.paths.state);
  return archive;
}

function archiveIn(known: Known) {
  const reader = openReader(homeOf(known));
  const reach = (chain: string): number => reader.last(chain)?.seq ?? 0;
  const uncounted = { metered: known.metering.metered, reach };
  const db = join(known.paths.state, "mcpgw.db");
  return archiveOf(reader, (query) => withUncounted(reader, readUsage(db, query), query, uncounted));
}

const nothingIn = (state: string): Refusal =>
  new Refusal(
    "invalid",
    `nothing is recorded in ${state}, or its log lies elsewhere: name its configuration with --config, or another state directory with --state`,
  );

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
