import { expect, test } from "bun:test";
import { isIssued } from "../../../src/upstream/link/exchange.ts";

test("only ids that were issued count as known", () => {
  expect(["1", "7"].map((id) => isIssued(id, 7))).toEqual([true, true]);
  expect(["0", "8", "-1", "07", "1.0", "1e0", "", " 1", "none"].filter((id) => isIssued(id, 7))).toEqual([]);
});
