import { accessSync, constants, existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { auditOptions, type AuditOptions } from "../audit/options.ts";
import { installDir, notedChainPath } from "../audit/outside.ts";
import { signingKeyFile, signingKeyIn } from "../audit/signing-key.ts";
import type { Keyring } from "../authn/keyring.ts";
import { loadOwnParts, loadTags, type OwnParts } from "../config/load.ts";
import {
  chosenPaths,
  clientSocket,
  findConfig,
  type Flags,
  passedOver,
  type Paths,
  resolvePaths,
  thisHost,
} from "../config/paths.ts";
import { ConfigError } from "../config/problem.ts";
import { Refusal } from "../control/refusal.ts";
import { whyUnreadable } from "../core/access.ts";
import { thrownBy } from "../core/attempt.ts";
import { plain } from "../core/text.ts";
import { type ChainHome, chainNames, chainPath, statePath } from "../store/sqlite/paths.ts";
import { loadingFrom, placed } from "./loading.ts";
import { type Metering, tagsOf } from "./handlers/usage.ts";

/**
 * The state directory that a command without a daemon works on, and what the configuration says, where there is one.
 */
export type OfflineState = {
  readonly paths: Paths;
  /** Where no daemon answered. */
  readonly socket: string;
  readonly audit: AuditOptions & { readonly path: string | null };
  /** Gives a keyring the keys of the configuration. Throws `ConfigError` where one clashes with the stored ones. */
  readonly takeKeys: (keyring: Keyring) => void;
  readonly metering: Metering;
  /** The roles that policies name; null without a configuration that can be used. */
  readonly roles: readonly string[] | null;
  /** Why the one that was found cannot be used, so that what it says is unknown; else null. */
  readonly fault: ConfigError | null;
};

/**
 * Finds it. Throws `ConfigError` where the configuration cannot be used and nothing else says which directory is meant.
 */
export function findState(flags: Flags): OfflineState {
  const host = thisHost();
  const file = findConfig(host, { flag: flags.config, local: false }).path;
  const resolving = (path: string) => loadingFrom(dirname(path), host.env).resolve;
  let own: OwnParts | null = null;
  let fault: ConfigError | null = null;
  try {
    own = file === null ? null : loadOwnParts(file, resolving(file));
  } catch (error) {
    // Keys and records can still be read as long as it is known which state directory is meant.
    if (!(error instanceof ConfigError) || chosenPaths(host, flags).state === undefined) throw error;
    fault = error;
    process.stderr.write(`mcpgw: warning: going on without the configuration:\n${indented(error.message)}\n`);
  }
  const chosen = chosenPaths(host, flags, { state: own?.state, socket: own?.control.socket });
  const paths = resolvePaths(host, chosen);
  const found = { paths, socket: clientSocket(host, chosen), fault };
  if (file === null || own === null) {
    const audit = { ...auditOptions.parse({}), path: notedMainPath(paths) };
    const metering = { metered: true, tags: () => unknownTags(fault) };
    return { ...found, audit, takeKeys: () => {}, metering, roles: null };
  }
  const { audit, auth, policies, usage, locate } = own;
  const takeKeys = (keyring: Keyring) => keyring.apply(placed(locate, () => keyring.prepare(auth.keys)));
  const metering = { metered: usage.enabled, tags: () => tagsOf(loadTags(file, resolving(file))) };
  return { ...found, audit, takeKeys, metering, roles: policies.flatMap(({ roles }) => roles) };
}

const indented = (text: string): string => text.replace(/^.*$/gm, (line) => `  ${plain(line)}`);

/** Where the last writer of the daemon's chain noted that it lies; null: in the state directory. */
function notedMainPath({ state, heads }: Paths): string | null {
  if (!existsSync(signingKeyFile(state))) return null;
  return notedChainPath(installDir(heads, publicKeyIn({ state, main: null })), "main");
}

/** Without them, every server would seem to have none. */
function unknownTags(fault: ConfigError | null): never {
  throw fault ?? new Refusal("invalid", "the configuration says what servers are tagged with: name it with --config");
}

/** Where its chains lie. */
export const homeOf = ({ paths, audit }: OfflineState): ChainHome => ({ state: paths.state, main: audit.path });
const hasMain = (state: OfflineState): boolean => existsSync(chainPath(homeOf(state), "main"));

/**
 * Says which state directory is changed, since no daemon was asked. Throws where the change would reach no gateway, or
 * begin a second log: only what may `begin` one is done where nothing is.
 */
export function checkChange(state: OfflineState, begin: boolean): void {
  const { paths, socket, roles, fault } = state;
  const isConfigured = roles !== null;
  const dir = paths.state;
  const lost = `no daemon answers at ${socket}`;
  // One that was named and cannot be used was not passed over.
  const near = isConfigured || fault ? "" : passedOver(process.cwd());
  const isEmpty = !existsSync(statePath(dir)) && !hasMain(state);
  if (isEmpty) refuseClosed(dir);
  if (isEmpty && !begin) {
    const start = "start a gateway with this configuration first, or give --state or --socket";
    const instead = isConfigured ? start : `give --config, --state or --socket${near}`;
    throw new Refusal("invalid", `${lost}, and nothing is in ${dir}: ${instead}`);
  }
  const doing = isEmpty ? "nothing is there yet, so this begins" : "going by what is in";
  process.stderr.write(`mcpgw: ${plain(`${lost}; ${doing} ${dir}${near}`)}\n`);
  checkChainKnown(state);
  // The writer of a chain leaves one of its locks there, wherever the chain lies; alone, it is of one that was killed
  // before there was a chain.
  if (isConfigured || isEmpty || hasMain(state) || !existsSync(join(dir, "audit", "main.lock"))) return;
  const elsewhere = `the audit log of ${dir} is not in it: if it lies elsewhere, name its configuration with --config`;
  throw new Refusal("invalid", elsewhere);
}

/** Throws where the configuration cannot be used and the chain is not found: `audit.path` may name another place. */
export function checkChainKnown(state: OfflineState): void {
  if (state.fault && !hasMain(state)) throw state.fault;
}

/** The key that signs the checkpoints of an installation. Throws where it, or all else, is missing. */
export function publicKeyIn(home: ChainHome): Uint8Array {
  const file = signingKeyFile(home.state);
  if (!existsSync(file)) {
    refuseClosed(home.state);
    if (!existsSync(statePath(home.state)) && chainNames(home).length === 0) refuseEmpty(home.state);
    const instead = "`mcpgw audit export --out FILE`, then `audit verify --jsonl FILE --pubkey KEY --checkpoint FILE`";
    const lost = `${file} is missing: nothing says whose log this is`;
    throw new Refusal("not-found", `${lost}; restore it, or check an export by what was kept elsewhere: ${instead}`);
  }
  return signingKeyIn(file).publicKey;
}

/** Refuses to read a log that is not there. */
export function refuseEmpty(stateDir: string): never {
  refuseClosed(stateDir);
  throw new Refusal(
    "invalid",
    `nothing is recorded in ${stateDir}, or its log lies elsewhere: name its configuration with --config, or another state directory with --state`,
  );
}

/** Nobody can tell what is in a state directory that lets this user not in. */
function refuseClosed(dir: string): void {
  // A file in its place lets nobody in either, but that is another matter.
  const error = thrownBy(() => accessSync(`${dir}/.`, constants.R_OK));
  const why = whyUnreadable(error, dir);
  if (why !== null) throw new Refusal("denied", `${dir}: ${why}; run this as its owner`);
}
