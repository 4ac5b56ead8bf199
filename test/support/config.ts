import { dirname } from "node:path";
import { parseConfig } from "../../src/config/load.ts";
import type { Loaded, LoadOptions } from "../../src/config/load.ts";
import { ConfigError } from "../../src/config/problem.ts";
import { loadingFrom } from "../../src/daemon/loading.ts";

type Options = { env?: Record<string, string>; overrides?: LoadOptions["overrides"]; file?: string };

/** Loads a configuration from text as the program does, with its own environment. */
export function loadText(
  text: string,
  { env = {}, overrides = [], file = "/etc/mcpgw/gateway.yaml" }: Options = {},
): Loaded {
  return parseConfig(new TextEncoder().encode(text), file, {
    ...loadingFrom(dirname(file), env),
    overrides,
  });
}

/** Returns the error of a configuration that must not load. */
export function refusal(text: string, options: Options = {}): ConfigError {
  try {
    loadText(text, options);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error("the configuration loaded");
}
