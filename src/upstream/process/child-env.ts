import { runVariable } from "./reaper.ts";

/** The variable that tells apart the children of one run. */
export const instanceVariable = "MCPGW_INSTANCE";

const passed = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"] as const;

/** The few variables of this process that a child gets; its environment is built, never inherited. */
export function baseEnv(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of passed) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

/** A child's whole environment; nothing configured can hide the marks by which its tree is found. */
export function childEnv(own: Readonly<Record<string, string>>, run: string, instance: string): Record<string, string> {
  return { ...baseEnv(), ...own, [runVariable]: run, [instanceVariable]: instance };
}
