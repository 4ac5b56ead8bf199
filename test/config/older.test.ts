import { expect, test } from "bun:test";
import { loadText } from "../support/config.ts";

const load = (older: unknown) => loadText(JSON.stringify(older)).config;

test("R29: the older spelling of a limit gives the burst as a multiple, with a minimum of one call", () => {
  const limitsOf = (rateLimit: unknown) => {
    const { perMinute, burst } = load({ rateLimit }).limits;
    return [perMinute, burst];
  };
  expect(limitsOf({ defaultPerMinute: 60, burstMultiplier: 2 })).toEqual([60, 120]);
  expect(limitsOf({ defaultPerMinute: 2, burstMultiplier: 0.1 })).toEqual([2, 1]);
  expect(limitsOf({ defaultPerMinute: 0 })).toEqual([0, undefined]);
  expect(limitsOf({ enabled: false, defaultPerMinute: 60 })).toEqual([undefined, undefined]);
});

test("the longer spelling of auth.type and the older spelling of usage take effect", () => {
  const config = load({ auth: { methods: [{ type: "none" }], roles: ["reader"] }, metering: { enabled: false } });
  expect([config.auth.type, config.usage.enabled]).toEqual(["none", false]);
});
