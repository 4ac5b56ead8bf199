import { dirname, join, sep } from "node:path";
import { missingPrograms } from "../config/command-lines.ts";
import { unusableFiles } from "../config/files.ts";
import { inOrder, loadConfig, type Loaded } from "../config/load.ts";
import { findOverrides } from "../config/overrides.ts";
import { findConfig, type Flags, resolvePaths, stateDir, thisHost, type Host, type Paths } from "../config/paths.ts";
import type { Problem } from "../config/problem.ts";
import { Refusal } from "../control/refusal.ts";
import { loadingFrom } from "./loading.ts";

/** A loaded configuration and its paths; `why` says how the file was found. */
export type Installation = { readonly loaded: Loaded; readonly paths: Paths; readonly why: string };

/**
 * Finds and loads the configuration that a command starts with; only `daemon` may read `./gateway.yaml`. Throws a
 * `Refusal` if there is none, or a `ConfigError` that lists every mistake.
 */
export function openInstallation(command: "daemon" | "serve", flags: Flags, host: Host = thisHost()): Installation {
  const daemon = command === "daemon";
  const found = findConfig(host, { flag: flags.config, local: daemon });
  if (found.path === null) throw new Refusal("invalid", found.why);
  const loaded = loadAt(found.path, { ...flags, starts: daemon }, host);
  const { state, control } = loaded.config;
  return { loaded, paths: resolvePaths(host, { state, socket: control.socket }), why: found.why };
}

/** `starts`: a daemon starts with this configuration, so the certificate and key are checked; a reload skips them. */
type LoadFlags = Flags & { readonly starts?: boolean };

/** Loads this file and applies the flags and the environment. Throws `ConfigError`. */
export function loadAt(path: string, flags: LoadFlags, host: Host = thisHost()): Loaded {
  const loaded = loadConfig(path, {
    ...loadingFrom(dirname(path), host.env),
    overrides: findOverrides(host, flags),
    ...(flags.starts ? { unusable: unusableFiles } : {}),
  });
  const { config, locate } = loaded;
  const programs = flags.starts ? missingPrograms(config, dirname(path)).map(locate) : [];
  const more = [...programs, ...withinState(loaded, stateDir(host, config))];
  return { ...loaded, warnings: inOrder([...loaded.warnings, ...more]) };
}

function withinState({ config, locate }: Loaded, state: string): Problem[] {
  const why =
    "anyone who can write there has the signing key of the log and could remove its checkpoints too; keep them elsewhere";
  return config.audit.checkpoints.flatMap(({ file }, index) => {
    const message = `${file} is in the state directory; ${why}`;
    return file.startsWith(join(state, sep)) ? locate({ path: ["audit", "checkpoints", index, "file"], message }) : [];
  });
}
