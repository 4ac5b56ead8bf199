import { describe, expect, jest, test } from "bun:test";
import { getEventListeners } from "node:events";
import { Parking } from "../../../src/gateway/input/parking.ts";
import { makeRoute } from "../../support/call.ts";
import { suspendProcess } from "../../support/stand-still.ts";

describe("places to wait", () => {
  const parkedCall = (owner: string, weight = 1) => ({
    owner,
    route: makeRoute("crm", "get"),
    scope: null,
    weight,
    resume: () => Promise.reject(new Error()),
    expire: () => Promise.resolve(),
  });

  test("T20: are limited per principal and in total", () => {
    const parking = new Parking({ total: 3, perOwner: 2, weight: 99, ageMs: 1_000 });
    parking.park(parkedCall("a"));
    const second = parking.park(parkedCall("a"));
    expect(() => parking.park(parkedCall("a"))).toThrow("Too many of your calls are waiting for answers (limit 2)");
    parking.park(parkedCall("b"));
    expect(() => parking.park(parkedCall("c"))).toThrow("Too many calls are waiting for answers (limit 3)");
    parking.release(second);
    parking.release(second);
    parking.park(parkedCall("a"));
    expect(() => parking.park(parkedCall("a"))).toThrow("Too many calls are waiting for answers (limit 3)");
    expect(parking.size).toBe(3);
    const heavy = new Parking({ total: 9, perOwner: 9, weight: 10, ageMs: 1_000 });
    const whole = heavy.park(parkedCall("a", 10));
    expect(() => heavy.park(parkedCall("b"))).toThrow("Too much data is waiting");
    heavy.release(whole);
    heavy.park(parkedCall("b", 10));
  });

  test("T20: are limited by default", () => {
    const parking = new Parking();
    for (let i = 0; i < 1_000; i++) parking.park(parkedCall(`owner ${i % 63}`));
    expect(() => parking.park(parkedCall("late"))).toThrow("(limit 1000)");
    const own = new Parking();
    for (let i = 0; i < 16; i++) own.park(parkedCall("a"));
    expect(() => own.park(parkedCall("a"))).toThrow("(limit 16)");
    expect(() => own.park(parkedCall("b", 64 * 1024 ** 2))).toThrow("Too much data is waiting");
    return Promise.all([parking.close(), own.close()]);
  });

  test("count questions that come while a call waits, and give their room back with the place", () => {
    const parking = new Parking({ total: 9, perOwner: 9, weight: 10, ageMs: 1_000 });
    const id = parking.park(parkedCall("a", 4));
    parking.grow(id, 6);
    expect(() => parking.grow(id, 1)).toThrow("Too much data is waiting");
    parking.grow(id, -2);
    parking.park(parkedCall("b", 2));
    expect(() => parking.park(parkedCall("b"))).toThrow("Too much data is waiting");
    parking.release(id);
    parking.grow(id, 99);
    parking.park(parkedCall("c", 8));
  });

  test("leave no timer and no revocation listener behind", () => {
    jest.useFakeTimers();
    try {
      const { signal } = new AbortController();
      const parking = new Parking();
      const ids = Array.from({ length: 2 }, () => parking.park(parkedCall("a")));
      for (const id of ids.slice(1)) parking.releaseOnLoss(id, signal);
      expect([jest.getTimerCount(), getEventListeners(signal, "abort").length]).toEqual([2, 1]);
      for (const id of ids) parking.release(id);
      expect([jest.getTimerCount(), getEventListeners(signal, "abort").length]).toEqual([0, 0]);
    } finally {
      jest.useRealTimers();
    }
  });

  test("T20: several calls of one principal leave room for those of others", () => {
    const parking = new Parking({ total: 9, perOwner: 9, weight: 10, ageMs: 1_000 });
    const id = parking.park(parkedCall("a", 4));
    expect(() => parking.park(parkedCall("a", 2))).toThrow(
      "Too much data of your calls is waiting for answers (limit 5",
    );
    parking.park(parkedCall("a"));
    expect(() => parking.grow(id, 1)).toThrow("Too much data of your calls is waiting");
    parking.grow(id, -1);
    parking.grow(id, 1);
    parking.park(parkedCall("b", 5));
  });

  test("are kept until messages that came while the process was stopped are read, and not much longer", async () => {
    const parking = new Parking({ total: 9, perOwner: 9, weight: 10, ageMs: 300 });
    const { promise: expired, resolve: expire } = Promise.withResolvers<void>();
    const id = parking.park({ ...parkedCall("a"), expire: async () => expire() });
    const answer = Bun.spawn(["sleep", "0.2"]).exited;
    await suspendProcess(900);
    await answer;
    expect(parking.find(id, "a")).not.toBeNull();
    await expired;
    expect(parking.size).toBe(0);
  });

  test("are found only by id and owner", () => {
    const parking = new Parking();
    const a = parkedCall("a");
    const id = parking.park(a);
    expect(parking.find(id, "a")).toBe(a);
    expect(parking.find(id, "b")).toBeNull();
    expect(parking.find("x", "a")).toBeNull();
    parking.release(id);
    expect(parking.find(id, "a")).toBeNull();
  });
});
