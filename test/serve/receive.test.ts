import { expect, test } from "bun:test";
import { refusedId } from "../../src/serve/receive.ts";

const legacy = "2025-11-25";

test("what is no request is refused under its id, unless it may be the answer of a client that can be asked", () => {
  const id = (text: string, revision: typeof legacy | null, headers: Headers | null = null) =>
    refusedId(text, { headers, revision });
  for (const text of ['{"jsonrpc":"2.0","id":5}', '{"jsonrpc":"2.0","id":5,"result":null}']) {
    expect(id(text, legacy)).toBeNull();
    // Before `initialize` and in 2026-07-28 nothing is asked, and over HTTP a refusal belongs to its request.
    expect([id(text, null), id(text, legacy, new Headers())]).toEqual(["5", "5"]);
  }
  expect(id('{"jsonrpc":"2.0","id":5,"method":7}', legacy)).toBe("5");
});
