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

test("FIELD T28: any thrown value is shown to operators, but not to callers", () => {
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

test("if disposal fails too, a call ends with its first failure, and operators see both", () => {
  const failing = (why: string) => ({
    [Symbol.dispose]() {
      throw new Error(why);
    },
  });
  const thrown = (first: unknown) => {
    try {
      using _outer = failing("the outer stays open");
      using _inner = failing("the inner stays open");
      throw first;
    } catch (error) {
      return asFailure(error);
    }
  };
  const denied = thrown(new Failure("denied", "A rule denies this.", { rule: "no-drop" }));
  expect(denied).toMatchObject({ code: "denied", message: "A rule denies this.", detail: { rule: "no-drop" } });
  expect(denied.detail.internal).toMatch(/the inner stays open[^]*the outer stays open/);
  const { code, detail } = thrown(new Error("broken"));
  expect([code, detail.internal]).toEqual(["internal", expect.stringMatching(/broken[^]*the inner[^]*the outer/)]);
});
