import { dirname, join, sep } from "node:path";
import { missingPrograms } from "../config/command-lines.ts";
import { unusableFiles } from "../config/files.ts";
import { inOrder, loadConfig, type Loaded } from "../config/load.ts";
import { findOverrides } from "../config/overrides.ts";
import { findConfig, type Flags, resolvePaths, stateDir, thisHost, type Host, type Paths } from "../config/paths.ts";
import type { Problem } from "../config/problem.ts";
import { Refusal } from "../control/refusal.ts";
import { loadingFrom } from "./loading.ts";

/** A configuration with the places it works in. */
export type Installation = { readonly loaded: Loaded; readonly paths: Paths; readonly why: string };

/**
 * Finds and loads the configuration that a command starts with; only `daemon` may read `./gateway.yaml`. Throws a
 * Refusal where there is none, ConfigError with everything that is wrong.
 */
export function openInstallation(command: "daemon" | "serve", flags: Flags, host: Host = thisHost()): Installation {
  const daemon = command === "daemon";
  const found = findConfig(host, { flag: flags.config, local: daemon });
  if (found.path === null) throw new Refusal("invalid", found.why);
  const loaded = loadAt(found.path, { ...flags, starts: daemon }, host);
  const { state, control } = loaded.config;
  return { loaded, paths: resolvePaths(host, { state, socket: control.socket }), why: found.why };
}

/** `starts`: a daemon is to start with it, which reads the certificate and key; a reload does not. */
type LoadFlags = Flags & { readonly starts?: boolean };

/** Loads this file, with the flags and the environment on top. Throws ConfigError. */
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
    "whoever can write there has the key of the log, and could remove its checkpoints too: keep them elsewhere";
  return config.audit.checkpoints.flatMap(({ file }, index) => {
    const message = `${file} is in the state directory; ${why}`;
    return file.startsWith(join(state, sep)) ? locate({ path: ["audit", "checkpoints", index, "file"], message }) : [];
  });
}
