import { whyInert } from "../authn/entry.ts";
import type { Loading } from "../config/load.ts";
import { examine } from "../policy/findings.ts";
import { createResolver } from "../secrets/index.ts";

/** What loading a configuration file from this directory needs besides overrides; the same for every command. */
export function loadingFrom(directory: string, env: Readonly<Record<string, string | undefined>>): Loading {
  const resolve = createResolver({ env, credentialsDirectory: env["CREDENTIALS_DIRECTORY"], directory });
  return { resolve, inert: whyInert, examinePolicy: examine };
}
