import { expect, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";

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
