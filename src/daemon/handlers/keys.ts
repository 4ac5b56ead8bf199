import type { AuditBroker } from "../../audit/broker.ts";
import { KeyError } from "../../authn/entry.ts";
import type { CreatedKey, KeyInfo, Keyring } from "../../authn/keyring.ts";
import type { Answer } from "../../control/api.ts";
import type { Context, Handlers } from "../../control/contract.ts";
import { Refusal } from "../../control/refusal.ts";
import type { KeyView } from "../../control/schemas.ts";
import type { Act, Acts } from "../../core/event.ts";
import { StoreBusy, StoreFailed } from "../../core/store.ts";
import { actOf } from "./act.ts";

export type KeyHandlerOptions = {
  readonly keyring: Keyring;
  readonly audit: Pick<AuditBroker, "recordEvent" | "recordDone">;
  /** Returns the roles that policies name; null if unknown. */
  readonly namedRoles: () => readonly string[] | null;
};

type Names = `keys.${"create" | "list" | "revoke" | "rotate" | "freeze" | "unfreeze"}`;

/**
 * Returns the key management operations. A change that removes rights is made first and then recorded. A change that
 * grants rights is undone if it cannot be recorded.
 */
export function keyHandlers({ keyring, audit, namedRoles }: KeyHandlerOptions): Pick<Handlers, Names> {
  const issue = async (made: CreatedKey, record: (facts: Acts["key.created"]) => Promise<void>) => {
    const { id, key, name, consumerId, roles, expiresAt, cidrs, perMinute } = made;
    const named = namedRoles();
    const idleRoles = named ? roles.filter((role) => !named.includes(role)) : [];
    try {
      await record({ key: id, consumer: consumerId, roles: roles.join(",") });
    } catch (error) {
      keyring.revoke(id);
      throw error;
    }
    return { id, key, name, consumerId, roles, expiresAt, cidrs, perMinute, idleRoles, frozen: keyring.frozen };
  };
  /** Keys being rotated. A second rotation while the first is being recorded would create a second successor. */
  const rotating = new Set<string>();
  /** Records a change that has already taken effect; reports whether it is stored, and never throws a refusal. */
  const done = async (act: Act): Promise<boolean> => (await audit.recordDone(act)) && keyring.saved;
  return {
    "keys.create": (input, ctx) =>
      issue(
        attempt(() => keyring.create(input)),
        (facts) => audit.recordEvent(actOf(ctx, "key.created", facts)),
      ),
    "keys.list": () => listKeys(keyring),
    async "keys.revoke"({ id }, ctx) {
      const keyHash = attempt(() => keyring.revoke(id));
      const act = actOf(ctx, "key.revoked", { key: id, ...(keyHash !== null && { keyHash }) });
      return { id, recorded: await done(act) };
    },
    async "keys.rotate"({ id }, ctx) {
      if (rotating.has(id)) throw new Refusal("conflict", `key ${id} is already being rotated`);
      rotating.add(id);
      try {
        const made = attempt(() => keyring.successor(id));
        const issued = await issue(made, (facts) =>
          audit.recordEvent(actOf(ctx, "key.rotated", { ...facts, replaces: id })),
        );
        // Only after the new key is recorded, so that the holder is never left without a key.
        keyring.revoke(id);
        return issued;
      } finally {
        rotating.delete(id);
      }
    },
    ...freezeHandlers({ keyring, audit }, done),
  };
}

/** Returns freeze and unfreeze. An unfreeze takes effect once recorded, unless a freeze is recorded in between. */
function freezeHandlers(
  { keyring, audit }: Pick<KeyHandlerOptions, "keyring" | "audit">,
  done: (act: Act) => Promise<boolean>,
): Pick<Handlers, "keys.freeze" | "keys.unfreeze"> {
  let freezes = 0;
  const recordFreeze = (ctx: Context): Promise<boolean> => {
    freezes += 1;
    return done(actOf(ctx, "key.frozen", {}));
  };
  return {
    async "keys.freeze"(_input, ctx) {
      keyring.freeze();
      return { frozen: true, recorded: await recordFreeze(ctx) };
    },
    async "keys.unfreeze"(_input, ctx) {
      const before = freezes;
      await audit.recordEvent(actOf(ctx, "key.unfrozen", {}));
      if (freezes !== before) throw new Refusal("conflict", "everything was frozen again in the meantime");
      try {
        attempt(() => keyring.unfreeze());
      } catch (error) {
        // Readers of the log, including the next start, must see that the freeze continues.
        if (keyring.frozen) await recordFreeze(ctx);
        throw error;
      }
      return { frozen: false, recorded: true };
    },
  };
}

/** Returns the answer of `keys list`. */
export function listKeys(keyring: Keyring): Answer<"keys.list"> {
  const uses = keyring.lastUses();
  return { frozen: keyring.frozen, keys: keyring.list().map((key) => view(key, uses.get(key.id) ?? null)) };
}

function attempt<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof KeyError) throw new Refusal("conflict", error.message);
    if (error instanceof StoreBusy || error instanceof StoreFailed) throw new Refusal("unavailable", error.message);
    throw error;
  }
}

function view({ reason: _reason, state, ...key }: KeyInfo, lastUsedAt: number | null): KeyView {
  return { ...key, lastUsedAt, state: state === "inert" ? "disabled" : state };
}
