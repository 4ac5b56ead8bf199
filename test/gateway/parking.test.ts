import { describe, expect, test } from "bun:test";
import { Parking } from "../../src/gateway/parking.ts";

describe("places to wait", () => {
  const guest = (owner: string, weight = 1) => ({
    owner,
    weight,
    resume: () => Promise.reject(new Error()),
    expire: () => Promise.resolve(),
  });

  test("T20: are limited per principal and in all", () => {
    const parking = new Parking({ total: 3, perOwner: 2, weight: 99, age: 1_000 });
    parking.hold(guest("a"));
    const second = parking.hold(guest("a"));
    expect(() => parking.hold(guest("a"))).toThrow("All of your 2 places");
    parking.hold(guest("b"));
    expect(() => parking.hold(guest("c"))).toThrow("All 3 places");
    parking.release(second);
    parking.release(second);
    parking.hold(guest("c"));
    expect(parking.size).toBe(3);
    const heavy = new Parking({ total: 9, perOwner: 9, weight: 10, age: 1_000 });
    const whole = heavy.hold(guest("a", 10));
    expect(() => heavy.hold(guest("b"))).toThrow("All the room");
    heavy.release(whole);
    heavy.hold(guest("b", 10));
  });

  test("count what is asked while a call waits, and give it back with the place", () => {
    const parking = new Parking({ total: 9, perOwner: 9, weight: 10, age: 1_000 });
    const id = parking.hold(guest("a", 4));
    parking.grow(id, 6);
    expect(() => parking.grow(id, 1)).toThrow("All the room");
    parking.grow(id, -2);
    parking.hold(guest("b", 2));
    expect(() => parking.hold(guest("b"))).toThrow("All the room");
    parking.release(id);
    parking.grow(id, 99);
    parking.hold(guest("b", 8));
  });

  test("are found by handle and owner alone", () => {
    const parking = new Parking();
    const a = guest("a");
    const id = parking.hold(a);
    expect(parking.find(id, "a")).toBe(a);
    expect(parking.find(id, "b")).toBeNull();
    expect(parking.find("x", "a")).toBeNull();
    parking.release(id);
    expect(parking.find(id, "a")).toBeNull();
  });
});
