import { expect, test } from "bun:test";
import { Keyring } from "../../src/authn/keyring.ts";
import type { Context } from "../../src/control/contract.ts";
import { systemClock } from "../../src/core/clock.ts";
import { keyHandlers } from "../../src/daemon/handlers/keys.ts";
import { memoryKeyStore } from "../support/key-store.ts";

const peer = { uid: 0, gid: 0, pid: 1, groups: [], access: "admin" } as const;
const ctx: Context = { peer, key: null, signal: new AbortController().signal };

test("R23: a rotation that cannot be recorded leaves the old key as it was, and no other", async () => {
  using keyring = new Keyring({ store: memoryKeyStore(), clock: systemClock });
  const { id } = keyring.create({ name: "A", consumerId: "agent", roles: ["user"] });
  const states = () => Object.fromEntries(keyring.list().map((key) => [key.id, key.state]));
  let full = true;
  const recordAct = async () => {
    expect(states()[id]).toBe("active");
    if (full) throw new Error("disk full");
  };
  const rotate = keyHandlers({ keyring, recordAct, recordDone: async () => true, namedRoles: () => null })[
    "keys.rotate"
  ];
  const failed = await Promise.resolve(rotate({ id }, ctx)).catch((error: Error) => error.message);
  expect(failed).toBe("disk full");
  expect(states()[id]).toBe("active");
  expect(Object.values(states()).filter((state) => state === "active")).toHaveLength(1);
  full = false;
  const made = await rotate({ id }, ctx);
  expect(states()).toMatchObject({ [id]: "revoked", [made.id]: "active" });
});
