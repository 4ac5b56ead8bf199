import { resolve } from "node:path";
import { type Path, valueAt } from "../core/finding.ts";
import { isObject } from "../core/json.ts";
import type { Flags, Host } from "./paths.ts";

/** A value from outside the file that takes precedence over it. */
export type Override = {
  readonly path: readonly string[];
  readonly value: string;
  /** The name of the flag or variable, for messages. */
  readonly origin: string;
};

/** Returns the values that flags and environment override, lowest precedence first. */
export function findOverrides({ env, cwd }: Pick<Host, "env" | "cwd">, flags: Flags = {}): Override[] {
  // Relative paths start at the working directory here, but at the file's directory in the file.
  const from = (given: string | undefined) => given && resolve(cwd, given);
  const sources = [
    { path: ["log", "level"], value: env["MCPGW_LOG_LEVEL"], origin: "MCPGW_LOG_LEVEL" },
    { path: ["state"], value: from(env["MCPGW_STATE"]), origin: "MCPGW_STATE" },
    { path: ["control", "socket"], value: from(env["MCPGW_SOCKET"]), origin: "MCPGW_SOCKET" },
    { path: ["listen", "http"], value: flags.listen, origin: "--listen" },
    { path: ["state"], value: from(flags.state), origin: "--state" },
    { path: ["control", "socket"], value: from(flags.socket), origin: "--socket" },
  ];
  return sources.flatMap(({ path, value, origin }) => (value ? [{ path, value, origin }] : []));
}

/** Returns a copy of the data with the overrides applied. */
export function applyOverrides(value: unknown, overrides: readonly Override[]): unknown {
  return overrides.reduce((data, { path, value: text }) => put(data, path, text), value);
}

function put(value: unknown, [key, ...rest]: readonly string[], text: string): unknown {
  if (key === undefined) return text;
  // If it is not a mapping, the schema refuses it later.
  if (value !== undefined && !isObject(value)) return value;
  return { ...value, [key]: put(valueAt(value, [key]), rest, text) };
}

/** Returns the override that sets the value at `path`; the last one wins. */
export function overrideOf(overrides: readonly Override[], path: Path): Override | undefined {
  return overrides.findLast((override) => override.path.every((key, index) => path[index] === key));
}
