import { afterEach, expect, jest, test } from "bun:test";
import { Keyring } from "../../src/authn/keyring.ts";
import { systemClock } from "../../src/core/clock.ts";
import { StoreFailed } from "../../src/core/store.ts";
import { watchKeys } from "../../src/daemon/embedded.ts";
import { memoryKeyStore } from "../support/key-store.ts";
import { writtenLog } from "../support/written-log.ts";

afterEach(() => void jest.useRealTimers());

test("unreadable keys are retried every second and logged once a minute", () => {
  const store = memoryKeyStore();
  let looks = 0;
  let broken = false;
  const version = (): string => {
    if (!broken) return store.version();
    looks++;
    throw new StoreFailed("disk I/O error");
  };
  using keyring = new Keyring({ store: { ...store, version }, clock: systemClock });
  broken = true;
  const { lines, log } = writtenLog();
  jest.useFakeTimers();
  const watch = watchKeys(keyring, log);
  jest.advanceTimersByTime(5_000);
  clearInterval(watch);
  expect(looks).toBe(5);
  expect(lines).toEqual([expect.stringContaining("disk I/O error")]);
});
