import { existsSync } from "node:fs";
import { dirname, resolve as absolute } from "node:path";
import { messageOf } from "../core/error-text.ts";
import type { Resolve } from "./document.ts";
import { type Chosen, chosenPaths, clientSocket, findConfig, type Host } from "./paths.ts";
import { ConfigError, unplaced } from "./problem.ts";
import { readConfigFile } from "./read.ts";

/** Where a client finds the daemon. */
export type FoundSocket = {
  readonly socket: string;
  /** What could not be read, so that another socket may be meant; null if there is no doubt. */
  readonly doubt: string | null;
};

export type ClientFlags = Chosen & {
  readonly config?: string | undefined;
  /** Whether `./gateway.yaml` may say it. */
  readonly local?: boolean;
};

export type Asking = {
  readonly resolving: (directory: string) => Promise<Resolve>;
  /** Whether the daemon at a socket says that it runs with this very file. */
  readonly runsWith?: (socket: string, file: string) => Promise<boolean>;
};

/**
 * Finds the control socket by flag, environment, file and default, in this order. Only the parts of the file that name
 * the socket are read. Throws ConfigError if the file that was named does not tell.
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
    const says = (from: string) => `could not read the socket from ${from}: ${cause}; or name the socket with --socket`;
    // A file that nobody named may be readable by the daemon only; a named state directory has a usual place for its
    // socket.
    const usual = clientSocket(host, given);
    const likely = found.byDefault || given.state !== undefined;
    if (existsSync(usual) && (likely || (await runsWith?.(usual, file))))
      return { socket: usual, doubt: says(line === null ? file : `${file}:${line}:${column}`) };
    throw new ConfigError([{ ...unplaced(file, says("it")), line, column }]);
  }
}

async function chosenIn(file: string, resolve: Resolve): Promise<Chosen> {
  const { plainData } = await import("./document.ts");
  const value = plainData(new TextDecoder().decode(readConfigFile(file)), file) as {
    state?: unknown;
    control?: { socket?: unknown } | null;
  }; // unchecked data
  const at = (text: unknown): string | undefined =>
    typeof text === "string" ? absolute(dirname(file), resolve(text).value) : undefined;
  return { state: at(value.state), socket: at(value.control?.socket) };
}
