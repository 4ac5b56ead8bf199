import { runVariable } from "./reaper.ts";

/** The environment variable that distinguishes the children of one run. */
export const instanceVariable = "MCPGW_INSTANCE";

const passed = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"] as const;

/** Returns the few variables that a child gets from this process; it inherits no others. */
export function baseEnv(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of passed) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

/** Returns a child's whole environment. The markers of its process tree come last, so nothing replaces them. */
export function childEnv(own: Readonly<Record<string, string>>, run: string, instance: string): Record<string, string> {
  return { ...baseEnv(), ...own, [runVariable]: run, [instanceVariable]: instance };
}
