import { expect, test } from "bun:test";
import { nearest } from "../../src/core/nearest.ts";

const names = ["listen", "limits", "serve", "servers", "allowedHosts", "id", "audit", "no-color"];

test.each([
  ["lisen", "listen"],
  ["lsiten", "listen"],
  ["Server", "servers"],
  ["serv", "serve"],
  ["allowed_hosts", "allowedHosts"],
  ["di", "id"],
  ["al", "allowedHosts"],
  ["n", null],
  ["frobnicate", null],
  ["", null],
  ["x".repeat(10_000), null],
])("the name nearest to %p is %p", (text, expected) => {
  expect(nearest(text, names)).toBe(expected);
});
