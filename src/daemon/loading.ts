import { KeyError, whyInert } from "../authn/entry.ts";
import type { Loaded, Loading } from "../config/load.ts";
import { ConfigError } from "../config/problem.ts";
import { examine } from "../policy/findings.ts";
import { createResolver } from "../secrets/index.ts";

/** What loading a configuration file from this directory needs besides overrides; the same for every command. */
export function loadingFrom(directory: string, env: Readonly<Record<string, string | undefined>>): Loading {
  const resolve = createResolver({ env, credentialsDirectory: env["CREDENTIALS_DIRECTORY"], directory });
  return { resolve, inert: whyInert, examinePolicy: examine };
}

/** Says where in the configuration a key stands that clashes with the stored ones. */
export function placed<T>(locate: Loaded["locate"], make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof KeyError)) throw error;
    const { message, path } = error;
    throw new ConfigError([locate({ path: path ?? ["auth", "keys"], message })]);
  }
}
