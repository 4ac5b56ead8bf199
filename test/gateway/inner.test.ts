import { expect, test } from "bun:test";
import { Cancel } from "../../src/core/cancel.ts";
import { callByName } from "../../src/gateway/inner.ts";
import { loopback } from "../support/call.ts";
import { alice, harness } from "./support.ts";

// Calls that did not come in as an MCP message: those of the command line, and those of `mcpgw__call`.

const caller = () => ({ source: loopback, credentials: [], vouched: alice, controller: new Cancel(), scope: null });

test("T22: limits.body holds for them too, and counts bytes", async () => {
  const { gw, sent } = harness();
  const called = (count: number) => callByName(gw, "crm:get", JSON.stringify({ x: "€".repeat(count) }), caller());
  expect((await called(1_390_000)).status).toBe("ok");
  expect((await called(1_400_000)).failure?.code).toBe("body-too-large");
  expect(sent).toHaveLength(1);
});

test("a tool whose server is still starting is waited for, as in a call by its wire name", async () => {
  const { gw, sent } = harness();
  const boot = Promise.withResolvers<void>();
  const { catalog } = gw;
  Object.assign(gw, { booted: boot.promise, catalog: { ...catalog, find: () => null } });
  const called = callByName(gw, "crm:get", "{}", caller());
  Object.assign(gw, { catalog });
  boot.resolve();
  expect((await called).status).toBe("ok");
  expect(sent).toHaveLength(1);
});

test("a tool that only the gateway in force knows, once its server has been waited for, is called there", async () => {
  const { gw, sent } = harness();
  const boot = Promise.withResolvers<void>();
  const before = { ...gw, booted: boot.promise, catalog: { ...gw.catalog, find: () => null } };
  const called = callByName(before, "crm:get", "{}", caller());
  boot.resolve();
  expect((await called).status).toBe("ok");
  expect(sent).toHaveLength(1);
});
