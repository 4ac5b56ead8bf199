import { expect, spyOn, test } from "bun:test";
import { silent } from "../../src/core/log.ts";
import { createService } from "../../src/daemon/service-manager.ts";

test.each([
  ["30000000", 15_000],
  ["", 30_000],
])("R114: with a watchdog interval of %p µs, keep-alives are sent twice as often", (usec, every) => {
  const before = process.env["WATCHDOG_USEC"];
  process.env["WATCHDOG_USEC"] = usec;
  using made = spyOn(globalThis, "setInterval");
  createService(silent).close();
  if (before === undefined) delete process.env["WATCHDOG_USEC"];
  else process.env["WATCHDOG_USEC"] = before;
  expect(made.mock.calls.map(([, ms]) => ms)).toEqual([every]);
});
