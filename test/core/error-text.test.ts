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

test("an error in disposal does not hide the error that caused it", () => {
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

test("a thrown value that is not an error is converted to text and has no code", () => {
  expect([messageOf("gone"), codeOf("gone"), codeOf(new Error("gone"))]).toEqual(["gone", null, null]);
});
