import { readFileSync } from "node:fs";
import path from "node:path";
import { chosenPaths, clientSocket, findConfig, thisHost, type Chosen } from "../config/paths.ts";
import type { Deps } from "./cli.ts";
import type { GlobalOptions } from "../core/global-options.ts";

/** `state` and `control.socket` of a file, without checking the rest: a client needs no more of it. */
async function placesIn(file: string, loading: Deps["loading"]): Promise<Chosen> {
  const { readSource } = await import("../config/document.ts");
  try {
    const { resolve } = await loading(path.dirname(file));
    const source = readSource(readFileSync(file, "utf8"), (value) => ({ value, secrets: [] }));
    const value = source.value() as { state?: unknown; control?: { socket?: unknown } | null }; // unchecked data
    const at = (text: unknown): string | undefined =>
      typeof text === "string" ? path.resolve(path.dirname(file), resolve(text).value) : undefined;
    return { state: at(value.state), socket: at(value.control?.socket) };
  } catch {
    // An unreadable or broken file is the daemon's to report; the defaults may still reach it.
    return {};
  }
}

/** The control socket by flag, environment, file and default, in this order. */
export async function locateSocket(globals: GlobalOptions, loading: Deps["loading"]): Promise<string> {
  const host = thisHost();
  const given = chosenPaths(host, globals);
  if (given.socket) return clientSocket(host, given);
  const file = findConfig(host, { flag: globals.config, local: false }).path;
  return clientSocket(host, file ? chosenPaths(host, globals, await placesIn(file, loading)) : given);
}
