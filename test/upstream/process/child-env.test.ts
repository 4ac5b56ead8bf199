import { afterEach, expect, test } from "bun:test";
import { childEnv } from "../../../src/upstream/process/child-env.ts";

const secret = "MCPGW_TEST_SECRET";
afterEach(() => delete process.env[secret]);

test("a child has of the gateway's environment what every program needs, and nothing else", () => {
  process.env[secret] = "x";
  const env = childEnv({ TOKEN: "t", PATH: "/own" }, "run", "instance");
  const usual = new Set(["PATH", "HOME", "LANG", "TZ", "TMPDIR", "TOKEN", "MCPGW_RUN", "MCPGW_INSTANCE"]);
  expect(Object.keys(env).filter((name) => !usual.has(name))).toEqual([]);
  expect([env["TOKEN"], env["PATH"], env["HOME"]]).toEqual(["t", "/own", process.env["HOME"]]);
});

test("no configured variable replaces the marks by which a child is found", () => {
  const env = childEnv({ MCPGW_RUN: "mine", MCPGW_INSTANCE: "mine" }, "run", "instance");
  expect([env["MCPGW_RUN"], env["MCPGW_INSTANCE"]]).toEqual(["run", "instance"]);
});
