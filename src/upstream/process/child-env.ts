import { runVariable } from "./reaper.ts";

/** The variable that distinguishes the children of one run. */
export const instanceVariable = "MCPGW_INSTANCE";

const passed = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"] as const;

/** The few variables that a child gets from this process; it inherits nothing else of this environment. */
export function baseEnv(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of passed) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

/**
 * A child's whole environment. The marks by which its process tree is found come last: no configured variable replaces
 * them.
 */
export function childEnv(own: Readonly<Record<string, string>>, run: string, instance: string): Record<string, string> {
  return { ...baseEnv(), ...own, [runVariable]: run, [instanceVariable]: instance };
}
