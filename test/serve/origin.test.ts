import { describe, expect, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import { originGuard } from "../../src/serve/origin.ts";

const loopback = { host: "127.0.0.1", allowedHosts: [], allowedOrigins: ["https://app.example"] };

function verdict(options: Parameters<typeof originGuard>[0], headers: Record<string, string>): string {
  try {
    originGuard(options)(new Headers(headers));
    return "ok";
  } catch (error) {
    return error instanceof Failure ? error.code : "thrown";
  }
}

describe("S01 S28: Host and Origin on a loopback listener", () => {
  const table: [Record<string, string>, string][] = [
    [{ host: "127.0.0.1:7332" }, "ok"],
    [{ host: "localhost:7332" }, "ok"],
    [{ host: "LOCALHOST" }, "ok"],
    [{ host: "[::1]:7332" }, "ok"],
    [{ host: "localhost.:7332", origin: "http://localhost.:7332" }, "ok"],
    [{ host: "localhost.:7332", origin: "http://evil.test" }, "bad-origin"],
    [{ host: "localhost.." }, "invalid-request"],
    [{ host: "[::1].:7332" }, "invalid-request"],
    [{ host: "." }, "invalid-request"],
    [{ host: "evil_test:7332" }, "bad-origin"],
    [{ host: "evil.test.", origin: "http://evil.test." }, "bad-origin"],
    [{ host: "localhost_" }, "bad-origin"],
    [{ host: "_localhost" }, "bad-origin"],
    [{ host: "evil.test:7332" }, "bad-origin"],
    [{ host: "localhost.evil.test" }, "bad-origin"],
    [{ host: "127.0.0.1.evil.test" }, "bad-origin"],
    [{ host: "localhost/?x=" }, "invalid-request"],
    [{ host: "a b" }, "invalid-request"],
    [{ host: "localhost, evil.test" }, "invalid-request"],
    [{ host: "localhost:99999999" }, "invalid-request"],
    [{}, "invalid-request"],
    [{ host: "localhost:7332", origin: "http://localhost:7332" }, "ok"],
    [{ host: "localhost:7332", origin: "http://localhost:8000" }, "bad-origin"],
    [{ host: "localhost:7332", origin: "http://evil.test" }, "bad-origin"],
    [{ host: "localhost:7332", origin: "null" }, "bad-origin"],
    [{ host: "localhost:7332", origin: "https://app.example" }, "ok"],
    [{ host: "localhost:7332", origin: "http://localhost:7332.evil.test" }, "bad-origin"],
    [{ host: "localhost:7332", origin: "https://localhost:73320" }, "bad-origin"],
    [{ host: "localhost:7332", origin: "https://app.example.evil.test" }, "bad-origin"],
  ];
  for (const [headers, expected] of table) {
    test(`${JSON.stringify(headers)} → ${expected}`, () => expect(verdict(loopback, headers)).toBe(expected));
  }

  test("caching the last good Host never lets a foreign Origin through", () => {
    const guard = originGuard(loopback);
    guard(new Headers({ host: "localhost" }));
    expect(() => guard(new Headers({ host: "localhost", origin: "http://evil.test" }))).toThrow("Origin");
    for (let again = 0; again < 2; again++)
      expect(() => guard(new Headers({ host: "evil.test" }))).toThrow("evil.test");
  });

  test("an allowed Origin matches in any letter case", () => {
    const options = { ...loopback, allowedOrigins: ["https://App.example"] };
    expect(verdict(options, { host: "localhost", origin: "https://app.EXAMPLE" })).toBe("ok");
  });
});

test("S01: every spelling of a loopback address counts as loopback", () => {
  const mapped = { host: "::ffff:127.0.0.1", allowedHosts: [], allowedOrigins: [] };
  expect(verdict(mapped, { host: "evil.test" })).toBe("bad-origin");
});

test("S01: outside loopback any well-formed Host passes unless allowedHosts restricts it", () => {
  const open = { host: "0.0.0.0", allowedHosts: [], allowedOrigins: [] };
  expect(verdict(open, { host: "gw.example" })).toBe("ok");
  expect(verdict({ ...open, allowedHosts: ["gw.example"] }, { host: "gw.example:443" })).toBe("ok");
  for (const [allowed, host] of [
    ["mcp_gw", "MCP_gw:7332"],
    ["gw.example", "gw.example.:443"],
    ["gw.example.", "gw.example"],
  ] as const)
    expect(verdict({ ...open, allowedHosts: [allowed] }, { host })).toBe("ok");
  expect(verdict({ ...open, allowedHosts: ["gw.example"] }, { host: "other.example" })).toBe("bad-origin");
});

describe("S01: the address that the gateway listens on is always an allowed Host", () => {
  const table: [string, string[], Record<string, string>, string][] = [
    ["127.0.0.2", [], { host: "127.0.0.2:7332" }, "ok"],
    ["127.0.0.2", [], { host: "127.0.0.2:7332", origin: "http://127.0.0.2:7332" }, "ok"],
    ["127.0.0.2", [], { host: "127.0.0.2:7332", origin: "http://evil.test" }, "bad-origin"],
    ["127.0.0.2", [], { host: "127.0.0.3:7332" }, "bad-origin"],
    ["127.0.0.2", [], { host: "127.0.0.2.evil.test" }, "bad-origin"],
    ["192.0.2.2", ["gw.example"], { host: "192.0.2.2:7332" }, "ok"],
    ["192.0.2.2", ["gw.example"], { host: "evil.test:7332" }, "bad-origin"],
    ["2001:DB8:0::2", ["gw.example"], { host: "[2001:db8::2]:7332" }, "ok"],
    ["GW.example", ["other.example"], { host: "gw.example" }, "ok"],
    ["mcp_gw", ["other.example"], { host: "mcp_gw.:7332" }, "ok"],
    ["gw.local.", ["other.example"], { host: "gw.local" }, "ok"],
    ["0.0.0.0", ["gw.example"], { host: "0.0.0.0:7332" }, "bad-origin"],
    ["::", ["gw.example"], { host: "[::]:7332" }, "bad-origin"],
  ];
  for (const [host, allowedHosts, headers, expected] of table) {
    test(`on ${host}: ${JSON.stringify(headers)} → ${expected}`, () => {
      expect(verdict({ host, allowedHosts, allowedOrigins: [] }, headers)).toBe(expected);
    });
  }
});
