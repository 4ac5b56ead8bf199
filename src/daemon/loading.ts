import { KeyError, inertReason } from "../authn/entry.ts";
import type { Loaded, Loading } from "../config/load.ts";
import { ConfigError } from "../config/problem.ts";
import { examine } from "../policy/findings.ts";
import { createResolver } from "../secrets/index.ts";

/** Returns what every command needs to load a configuration file from this directory, except overrides. */
export function loadingFrom(directory: string, env: Readonly<Record<string, string | undefined>>): Loading {
  const resolve = createResolver({ env, credentialsDirectory: env["CREDENTIALS_DIRECTORY"], directory });
  return { resolve, inert: inertReason, examinePolicy: examine };
}

/** Turns a `KeyError` of `make` into a `ConfigError` that locates the conflicting key in the configuration. */
export function placed<T>(locate: Loaded["locate"], make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof KeyError)) throw error;
    const { message, path } = error;
    throw new ConfigError([locate({ path: path ?? ["auth", "keys"], message })]);
  }
}
