import { expect, test } from "bun:test";
import { codeOf, messageOf } from "../../src/core/error-text.ts";

function thrownBy(run: () => void): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return null;
}

test("what fails while something is let go of does not hide why that was", () => {
  const full = Object.assign(new Error("the disk is full"), { code: "ENOSPC" });
  const failing = {
    [Symbol.dispose]() {
      throw new Error("it cannot be closed");
    },
  };
  const thrown = thrownBy(() => {
    using _outer = failing;
    using _inner = failing;
    throw full;
  });
  expect([messageOf(thrown), codeOf(thrown)]).toEqual(["the disk is full", "ENOSPC"]);
});

test("what is no error is told as text, and has no code", () => {
  expect([messageOf("gone"), codeOf("gone"), codeOf(new Error("gone"))]).toEqual(["gone", null, null]);
});
