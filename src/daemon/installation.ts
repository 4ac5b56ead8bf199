import { dirname } from "node:path";
import { unusableFiles } from "../config/files.ts";
import { loadConfig, type Loaded } from "../config/load.ts";
import { findOverrides } from "../config/overrides.ts";
import { findConfig, type Flags, resolvePaths, thisHost, type Host, type Paths } from "../config/paths.ts";
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

/** Loads this file, with the flags and the environment on top. Throws ConfigError. */
export function loadAt(path: string, options: Omit<FindOptions, "local">, host: Host = thisHost()): Loaded {
  return loadConfig(path, {
    ...loadingFrom(dirname(path), host.env),
    overrides: findOverrides(host, options),
    ...(options.starts ? { unusable: unusableFiles } : {}),
  });
}
