import { describe, expect, test } from "bun:test";
import { Refusal, Unreachable } from "../../src/control/refusal.ts";
import { run } from "../support/command-line.ts";

// How key commands handle answers that a daemon rarely gives.

describe("R23 keys", () => {
  test("a role or network that is given twice is sent once", async () => {
    const asked: unknown[] = [];
    const words = "keys create n a r,\ts,r --cidr 10.0.0.0/8,10.0.0.0/8";
    await run(words, (_name, input) => {
      asked.push(input);
      throw new Refusal("denied", "no");
    });
    expect(asked).toMatchObject([{ roles: ["r", "s"], cidrs: ["10.0.0.0/8"] }]);
  });

  test("a freeze names the callers of the daemon, or the state directory if no daemon is running", async () => {
    const out = async (text: string, online: boolean) => (await run(text, () => ({ recorded: true }), { online })).out;
    for (const text of ["keys freeze", "keys unfreeze"]) {
      expect(await out(text, true)).not.toContain("a gateway that uses this state directory");
      expect(await out(text, false)).toContain("a gateway that uses this state directory");
    }
  });

  test("list says if there are no keys, and if all keys are frozen", async () => {
    const said = async (frozen: boolean) => (await run("keys list", () => ({ frozen, keys: [] }))).err;
    const none = "there are no keys; create one with `mcpgw keys create NAME CONSUMER ROLES`\n";
    expect(await said(true)).toBe(`${none}all keys are frozen; \`mcpgw keys unfreeze\` ends the freeze\n`);
    expect(await said(false)).toBe(none);
  });

  test.each(["keys create A a r", "keys rotate k-1"])("%s warns while all callers are frozen", async (text) => {
    const made = { ...unlimited, expiresAt: null, perMinute: null };
    const warning = "all callers are frozen, so this key is refused until you run `mcpgw keys unfreeze`";
    expect((await run(text, () => ({ ...made, frozen: true }))).err).toContain(warning);
    expect((await run(text, () => ({ ...made, frozen: false }))).err).not.toContain("frozen");
    const { out } = await run(`${text} --json`, () => ({ ...made, frozen: true }));
    expect(JSON.parse(out)).not.toHaveProperty("frozen");
  });

  const unlimited = { id: "k-2", key: "x", name: "A", consumerId: "a", roles: [], cidrs: [], idleRoles: [] };

  test("the expiry time of a key is shown to the second, however far away it is", async () => {
    const at = new Date(2090, 4, 30, 19, 0, 5);
    const { err } = await run("keys create A a r", () => ({ ...unlimited, expiresAt: at.getTime() }));
    expect(err).toContain("; expires 2090-05-30 19:00:05\n");
    // A daemon of an older version sends no limit.
    expect(err).toStartWith("key k-2 (A) for consumer a, roles ; expires");
  });

  test.each([
    ["keys create A a r", "keys.create", { name: "A" }, ""],
    ["keys rotate k-1", "keys.rotate", { id: "k-1" }, "key k-1 is revoked\n"],
    ["keys rotate k-1 --json", "keys.rotate", { id: "k-1" }, "key k-1 is revoked\n"],
  ])("%s revokes a key again that could not be shown", async (text, operation, input, before) => {
    const asked: unknown[] = [];
    const made = { ...unlimited, expiresAt: null, perMinute: null };
    const err: unknown = expect.stringContaining(
      `${before}Failed: the key could not be shown, so it was revoked again: no space left`,
    );
    expect(await run(text, (...one) => (asked.push(one), made), { full: true })).toMatchObject({ code: 1, err });
    expect(asked).toMatchObject([
      [operation, input],
      ["keys.revoke", { id: "k-2" }],
    ]);
  });

  test("a key that could neither be shown nor revoked again is named in the error", async () => {
    const answer = (name: string) => {
      if (name === "keys.revoke") throw new Unreachable("the daemon closed the connection");
      return { ...unlimited, expiresAt: null, perMinute: null };
    };
    const { err } = await run("keys create A a r", answer, { full: true });
    expect(err).toContain("key k-2 could neither be shown (no space left");
    expect(err).toContain("nor revoked again (the daemon closed the connection): run `mcpgw keys revoke k-2`");
  });

  test.each([
    [true, "the gateway records it as soon as it can write to disk"],
    [false, "the audit log cannot be written"],
  ])("a change that is not recorded yet is reported, with a daemon: %p", async (online, why) => {
    for (const text of ["keys revoke k", "keys freeze", "keys unfreeze"]) {
      const { code, err } = await run(text, () => ({ id: "k", recorded: false }), { online });
      expect([code, err]).toEqual([0, expect.stringContaining(`warning: done, but not yet recorded: ${why}`)]);
    }
  });
});
