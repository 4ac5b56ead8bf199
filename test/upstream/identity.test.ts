import { expect, test } from "bun:test";
import { identityOf, listIdentityOf } from "../../src/upstream/identity.ts";
import { builtin, fake, http } from "../support/upstream.ts";

const url = "https://x.example/";
const pairs = [
  ["another command line", fake("a"), fake("a", ["--rich"]), true, true],
  [
    "another value of an environment variable",
    fake("a", [], { env: { K: "1" } }),
    fake("a", [], { env: { K: "2" } }),
    true,
    false,
  ],
  [
    "another order of the variables",
    fake("a", [], { env: { K: "1", L: "2" } }),
    fake("a", [], { env: { L: "2", K: "1" } }),
    false,
    false,
  ],
  ["another variable", fake("a", [], { env: { K: "1" } }), fake("a", [], { env: { L: "1" } }), true, true],
  [
    "another header value",
    http("a", url, { headers: { K: "1" } }),
    http("a", url, { headers: { K: "2" } }),
    true,
    false,
  ],
  ["another transport", http("a", url), http("a", url, { transport: "sse" }), true, true],
  ["another isolation", http("a", url), http("a", url, { isolation: "shared" }), true, false],
  ["another timeout and tags", http("a", url), http("a", url, { timeout: "9s", tags: ["t"] }), false, false],
  ["another id", builtin("a"), builtin("b"), true, true],
] as const;

test.each(pairs)(
  "%s changes the identities of processes and of stored lists only if they depend on it",
  (_, one, other, runs, lists) => {
    expect(identityOf(one) !== identityOf(other)).toBe(runs);
    expect(listIdentityOf(one) !== listIdentityOf(other)).toBe(lists);
  },
);
