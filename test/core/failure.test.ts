import { expect, test } from "bun:test";
import { asFailure, Failure } from "../../src/core/failure.ts";

test.each([
  [{}, "It failed."],
  [{ ran: "no", advice: "Try again later." }, "It failed. The call did not run. Try again later."],
  [{ ran: "maybe" }, "It failed. The call may have run: check before you repeat it."],
  [{ ran: "yes" }, "It failed. The call has run."],
] as const)("a failure says what happened, then whether the call ran: %p", (detail, message) => {
  const failure = new Failure("lost", "It failed.", detail);
  expect(failure.message).toBe(message);
  expect(failure.said).toBe("It failed.");
});

test("FIELD T28: whatever is thrown, operators are told what it was, and callers nothing of it", () => {
  const bare = Object.assign(new Error("gone"), { stack: "" });
  const internal = (error: unknown) => asFailure(error).detail.internal;
  expect([internal(bare), internal(new DOMException("", "AbortError")), internal("a text")]).toEqual([
    "Error: gone",
    expect.stringContaining("AbortError"),
    "a text",
  ]);
  expect(internal(new Error("broken"))).toContain("failure.test.ts");
  expect(asFailure(new Error("broken")).message).not.toContain("broken");
});
