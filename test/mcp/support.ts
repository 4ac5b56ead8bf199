import { expect } from "bun:test";
import fc from "fast-check";
import type { Failure, FailureCode } from "../../src/core/failure.ts";
import type { ScanLimits } from "../../src/mcp/scan.ts";
import { failureOf } from "../support/failure.ts";

export const limits: ScanLimits = { depth: 64, nodes: 100_000 };

/** Expects a Failure with this code and a sentence as its message. */
export function expectFailure(run: () => unknown, code: FailureCode): Failure {
  const failure = failureOf(run);
  expect(failure.code).toBe(code);
  expect(failure.message).toMatch(/^\S.+\.$/s);
  return failure;
}

/** JSON text of any value with random whitespace between its tokens. */
export const spacedJson: fc.Arbitrary<string> = fc
  .tuple(fc.jsonValue({ maxDepth: 4 }), fc.constantFrom("", " ", "\n", "\t", "\r\n "))
  .map(([value, space]) => spaced(value, space));

/** JSON text of a value with `space` around every token and key strings sometimes escaped. */
export function spaced(value: unknown, space: string): string {
  if (Array.isArray(value))
    return `[${space}${value.map((item) => spaced(item, space)).join(`${space},${space}`)}${space}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const body = Object.entries(value).map(([key, item]) => `${keyText(key)}${space}:${space}${spaced(item, space)}`);
  return `{${space}${body.join(`${space},${space}`)}${space}}`;
}

/** A key as JSON, its first character as an escape if the key's length is odd. */
export function keyText(key: string): string {
  if (key.length % 2 === 0) return JSON.stringify(key);
  return `"\\u${key.charCodeAt(0).toString(16).padStart(4, "0")}${JSON.stringify(key.slice(1)).slice(1)}`;
}

/** Splits bytes at these places. */
export function cuts(bytes: Uint8Array, at: readonly number[]): Uint8Array[] {
  const places = [...new Set(at.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...places].map((from, i) => bytes.subarray(from, places[i] ?? bytes.length));
}
