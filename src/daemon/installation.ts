import { dirname, join, sep } from "node:path";
import { unusableFiles } from "../config/files.ts";
import { loadConfig, type Loaded, loadOwnParts, loadTags, type OwnParts } from "../config/load.ts";
import { findOverrides } from "../config/overrides.ts";
import {
  chosenPaths,
  clientSocket,
  findConfig,
  type Flags,
  resolvePaths,
  stateDir,
  thisHost,
  type Host,
  type Paths,
} from "../config/paths.ts";
import type { Problem } from "../config/problem.ts";
import { Refusal } from "../control/refusal.ts";
import { loadingFrom } from "./loading.ts";

/** A configuration with the places it works in. */
export type Installation = { readonly loaded: Loaded; readonly paths: Paths; readonly why: string };

export type FindOptions = Flags & {
  /** Whether `./gateway.yaml` may be read. */
  readonly local: boolean;
  /** Whether a daemon starts with it, which reads the certificate and key; a reload does not. */
  readonly starts?: boolean;
};

/**
 * Finds and loads the configuration. Throws a Refusal where there is none, ConfigError with everything that is wrong.
 */
export function openInstallation(options: FindOptions, host: Host = thisHost()): Installation {
  const found = findConfig(host, { flag: options.config, local: options.local });
  if (found.path === null) throw new Refusal("invalid", found.skipped ?? found.why);
  const loaded = loadAt(found.path, options, host);
  const { state, control } = loaded.config;
  return { loaded, paths: resolvePaths(host, { state, socket: control.socket }), why: found.why };
}

/** What commands need that run no server, and the socket on which they look for a daemon. */
export type OwnInstallation = {
  readonly own: OwnParts;
  readonly paths: Paths;
  readonly socket: string;
  /** Reads what the servers are tagged with. Throws ConfigError. */
  readonly tagged: () => ReturnType<typeof loadTags>;
};

/** Finds the configuration and loads what commands without servers need; null: none found. Throws ConfigError. */
export function openOwnParts(options: FindOptions, host: Host): OwnInstallation | null {
  const file = findConfig(host, { flag: options.config, local: options.local }).path;
  if (file === null) return null;
  const { resolve } = loadingFrom(dirname(file), host.env);
  const own = loadOwnParts(file, resolve);
  const chosen = chosenPaths(host, options, { state: own.state, socket: own.control.socket });
  const tagged = () => loadTags(file, resolve);
  return { own, paths: resolvePaths(host, chosen), socket: clientSocket(host, chosen), tagged };
}

/** Loads this file, with the flags and the environment on top. Throws ConfigError. */
export function loadAt(path: string, options: Omit<FindOptions, "local">, host: Host = thisHost()): Loaded {
  const loaded = loadConfig(path, {
    ...loadingFrom(dirname(path), host.env),
    overrides: findOverrides(host, options),
    ...(options.starts ? { unusable: unusableFiles } : {}),
  });
  return { ...loaded, warnings: [...loaded.warnings, ...withinState(loaded, stateDir(host, loaded.config))] };
}

function withinState({ config, locate }: Loaded, state: string): Problem[] {
  const why =
    "whoever can write there has the key of the log, and could remove its checkpoints too: keep them elsewhere";
  return config.audit.checkpoints.flatMap(({ file }, index) => {
    const message = `${file} is in the state directory; ${why}`;
    return file.startsWith(join(state, sep)) ? locate({ path: ["audit", "checkpoints", index, "file"], message }) : [];
  });
}
