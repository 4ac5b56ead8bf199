import { expect, test } from "bun:test";
import { findOverrides, overrideOf } from "../../src/config/overrides.ts";

test("R28: paths in flags and environment are relative to the current directory, and flags take precedence", () => {
  const env = { MCPGW_STATE: "state", MCPGW_SOCKET: "env.sock", MCPGW_LOG_LEVEL: "debug" };
  const overrides = findOverrides({ env, cwd: "/here" }, { socket: "flag.sock" });
  const valueAt = (...path: string[]) => overrideOf(overrides, path)?.value;
  expect(valueAt("state")).toBe("/here/state");
  expect(valueAt("control", "socket")).toBe("/here/flag.sock");
  expect(valueAt("log", "level")).toBe("debug");
  expect(valueAt("listen", "http")).toBeUndefined();
});
