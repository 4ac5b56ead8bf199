import { existsSync } from "node:fs";
import { dirname, resolve as absolute } from "node:path";
import { messageOf } from "../core/error-text.ts";
import { isObject } from "../core/json.ts";
import type { Resolve } from "./document.ts";
import { type Chosen, chosenPaths, clientSocket, findConfig, type Flags, type Host } from "./paths.ts";
import { ConfigError, unplaced } from "./problem.ts";
import { configText, readConfigFile } from "./read.ts";

export type FoundSocket = {
  readonly socket: string;
  /** What could not be read, so that this may be the wrong socket; null if there is no doubt. */
  readonly doubt: string | null;
};

export type ClientFlags = Flags & {
  /** Whether `./gateway.yaml` may name the socket. */
  readonly local?: boolean;
};

export type Asking = {
  readonly resolving: (directory: string) => Promise<Resolve>;
  /** Whether the daemon at a socket reports that it runs with this file. */
  readonly runsWith?: (socket: string, file: string) => Promise<boolean>;
};

/**
 * Finds the control socket by flag, environment, file and default, in this order. Only `state` and `control` of the
 * file are read. Throws ConfigError if a file that was named cannot be read.
 */
export async function findSocket(
  host: Host,
  flags: ClientFlags,
  { resolving, runsWith }: Asking,
): Promise<FoundSocket> {
  const given = chosenPaths(host, flags);
  const found = given.socket ? null : findConfig(host, { flag: flags.config, local: flags.local ?? false });
  if (!found?.path) return { socket: clientSocket(host, given), doubt: null };
  const file = found.path;
  try {
    const chosen = await chosenIn(file, await resolving(dirname(file)));
    return { socket: clientSocket(host, chosenPaths(host, flags, chosen)), doubt: null };
  } catch (error) {
    const [problem] = error instanceof ConfigError ? error.problems : [];
    const { line = null, column = null, message: cause = messageOf(error) } = problem ?? {};
    // A file at the default place may be readable by the daemon only, and a named state directory has a default socket.
    const usual = clientSocket(host, given);
    const likely = found.byDefault || given.state !== undefined;
    if (existsSync(usual) && (likely || (await runsWith?.(usual, file)))) {
      const place = line === null ? file : `${file}:${line}:${column}`;
      const doubt = `could not read the socket from ${place}: ${cause}; trying ${usual} (use --socket to name another)`;
      return { socket: usual, doubt };
    }
    const message = `${cause}; to reach a daemon without this file, name its socket with --socket`;
    throw new ConfigError([{ ...unplaced(file, message), line, column }]);
  }
}

async function chosenIn(file: string, resolve: Resolve): Promise<Chosen> {
  const { plainData } = await import("./document.ts");
  const value = plainData(configText(readConfigFile(file), file), file);
  // A file of another kind must not be mistaken for one that leaves everything at the defaults.
  if (!isObject(value)) throw new ConfigError([unplaced(file, "expected a mapping (key: value)")]);
  const { state, control } = value;
  const at = (text: unknown): string | undefined =>
    typeof text === "string" ? absolute(dirname(file), resolve(text).value) : undefined;
  return { state: at(state), socket: at(isObject(control) ? control["socket"] : undefined) };
}
