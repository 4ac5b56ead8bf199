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
  ignoredConfigNote,
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

/** The state directory that a command without a daemon works on, and its configuration if there is one. */
export type OfflineState = {
  readonly paths: Paths;
  /** The control socket on which no daemon answered. */
  readonly socket: string;
  readonly audit: AuditOptions & { readonly path: string | null };
  /** Adds the configured keys to a keyring. Throws `ConfigError` if one conflicts with a stored key. */
  readonly takeKeys: (keyring: Keyring) => void;
  readonly metering: Metering;
  /** The roles that policies name; null without a usable configuration. */
  readonly roles: readonly string[] | null;
  /** Why the configuration that was found cannot be used; null if it can, or if none was found. */
  readonly fault: ConfigError | null;
};

/** Finds the state. Throws `ConfigError` if the configuration is unusable and nothing else names a state directory. */
export function findState(flags: Flags): OfflineState {
  const host = thisHost();
  const file = findConfig(host, { flag: flags.config, local: false }).path;
  const resolving = (path: string) => loadingFrom(dirname(path), host.env).resolve;
  let own: OwnParts | null = null;
  let fault: ConfigError | null = null;
  try {
    own = file === null ? null : loadOwnParts(file, resolving(file));
  } catch (error) {
    // Keys and records can still be read if a flag or the environment names the state directory.
    if (!(error instanceof ConfigError) || chosenPaths(host, flags).state === undefined) throw error;
    fault = error;
    process.stderr.write(`mcpgw: warning: continuing without the configuration:\n${indented(error.message)}\n`);
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

/** Returns the path of the daemon's chain as noted by its last writer; null means the state directory. */
function notedMainPath({ state, heads }: Paths): string | null {
  if (!existsSync(signingKeyFile(state))) return null;
  return notedChainPath(installDir(heads, publicKeyIn({ state, main: null })), "main");
}

/** Throws instead of returning no tags, which would look as if no server had any. */
function unknownTags(fault: ConfigError | null): never {
  throw fault ?? new Refusal("invalid", "server tags come from the configuration; name its file with --config");
}

/** Returns where the chains are stored. */
export const homeOf = ({ paths, audit }: OfflineState): ChainHome => ({ state: paths.state, main: audit.path });
const hasMain = (state: OfflineState): boolean => existsSync(chainPath(homeOf(state), "main"));

/**
 * Prints which state directory will change, since no daemon answers. Throws if the change would reach no gateway or
 * start a second log; only a command that may `begin` one may work on an empty directory.
 */
export function checkChange(state: OfflineState, begin: boolean): void {
  const { paths, socket, roles, fault } = state;
  const isConfigured = roles !== null;
  const dir = paths.state;
  const lost = `no daemon answers at ${socket}`;
  // A configuration that was found but is unusable was not passed over.
  const near = isConfigured || fault ? "" : ignoredConfigNote(process.cwd());
  const isEmpty = !existsSync(statePath(dir)) && !hasMain(state);
  if (isEmpty) refuseClosed(dir);
  if (isEmpty && !begin) {
    const start = "start a gateway with this configuration first, or give --state or --socket";
    const instead = isConfigured ? start : `give --config, --state or --socket${near}`;
    throw new Refusal("invalid", `${lost}, and ${dir} holds no state: ${instead}`);
  }
  const doing = isEmpty ? "creating" : "working directly on";
  process.stderr.write(`mcpgw: ${plain(`${lost}; ${doing} ${dir}${near}`)}\n`);
  checkChainKnown(state);
  // The writer of a chain leaves a lock file here, wherever the chain is stored. A lock file alone is left by a writer
  // that was killed before it created the chain.
  if (isConfigured || isEmpty || hasMain(state) || !existsSync(join(dir, "audit", "main.lock"))) return;
  const elsewhere = `the audit log of ${dir} is not in it; if it is elsewhere, name its configuration with --config`;
  throw new Refusal("invalid", elsewhere);
}

/** Throws if the configuration is unusable and the chain is not found, since `audit.path` may name another place. */
export function checkChainKnown(state: OfflineState): void {
  if (state.fault && !hasMain(state)) throw state.fault;
}

/** Returns the public key of an installation's checkpoints. Throws a `Refusal` if the key file is missing. */
export function publicKeyIn(home: ChainHome): Uint8Array {
  const file = signingKeyFile(home.state);
  if (!existsSync(file)) {
    refuseClosed(home.state);
    if (!existsSync(statePath(home.state)) && chainNames(home).length === 0) refuseEmpty(home.state);
    const instead = "`mcpgw audit export --out FILE`, then `audit verify --jsonl FILE --pubkey KEY --checkpoint FILE`";
    const lost = `${file} is missing, so nothing shows whose log this is`;
    throw new Refusal(
      "not-found",
      `${lost}; restore it, or verify an export against checkpoints kept elsewhere: ${instead}`,
    );
  }
  return signingKeyIn(file).publicKey;
}

/** Throws the refusal for a log that does not exist. */
export function refuseEmpty(stateDir: string): never {
  refuseClosed(stateDir);
  throw new Refusal(
    "invalid",
    `nothing is recorded in ${stateDir}, or its log is elsewhere; name its configuration with --config, or another state directory with --state`,
  );
}

/** Throws a `Refusal` if this user may not read the state directory, whose contents are then unknown. */
function refuseClosed(dir: string): void {
  // `/.` makes a regular file at this path fail with ENOTDIR instead, since that is not a permission problem.
  const error = thrownBy(() => accessSync(`${dir}/.`, constants.R_OK));
  const why = whyUnreadable(error, dir);
  if (why !== null) throw new Refusal("denied", `${dir}: ${why}; run this as its owner`);
}
