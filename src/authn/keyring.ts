import type { Clock } from "../core/clock.ts";
import { keyHash } from "../core/key-hash.ts";
import type { Loss, Principal } from "../core/principal.ts";
import type { KeyStore, StoredKey } from "../core/store.ts";
import { Alarm } from "./alarm.ts";
import { type Entry, KeyError, fromOptions, fromStored, sameKey } from "./entry.ts";
import { KeyPrincipal } from "./key-principal.ts";
import { KeylessSignals } from "./keyless-rights.ts";
import { newKey } from "./new-key.ts";
import type { KeyOptions } from "./options.ts";
import { Unsaved } from "./unsaved.ts";
import { Uses } from "./uses.ts";

export type KeyState = "active" | "disabled" | "expired" | "revoked" | "inert";

/** A key as `keys list` shows it. */
export type KeyInfo = Pick<
  Entry,
  "id" | "name" | "consumerId" | "roles" | "source" | "createdAt" | "expiresAt" | "cidrs"
> & {
  readonly state: KeyState;
  readonly perMinute: number | null;
  /** Why the key is inert; null if it is not. */
  readonly reason: string | null;
};

/** What the operator chooses for a new key; everything else is generated. */
export type NewKeyRequest = Pick<StoredKey, "name" | "consumerId" | "roles" | "expiresAt" | "perMinute" | "cidrs">;

/** A key that was just created, with its secret text `key`, which is not kept. */
export type CreatedKey = KeyInfo & { readonly key: string };

/** The keys of a configuration, checked against the stored keys and ready for `apply`. */
export type PreparedKeys = {
  readonly entries: readonly Entry[];
  readonly anonymous: readonly string[] | null;
};

export type KeyringOptions = {
  readonly store: KeyStore;
  readonly clock: Clock;
  /** As for `Unsaved`. */
  readonly makeRoom?: () => boolean;
};

// No key has this id.
const freezeMark = "*";

/**
 * All API keys, in memory: a change takes effect at once, for requests and for open streams. Stored keys are loaded by
 * the constructor; configured keys arrive through `prepare` and `apply`. Disposing it stops its timers.
 */
export class Keyring implements Disposable {
  readonly #store: KeyStore;
  readonly #clock: Clock;
  readonly #byHash = new Map<string, Entry>();
  readonly #byId = new Map<string, Entry>();
  readonly #tombstones: Set<string>;
  #frozen: boolean;
  #version: string;
  readonly #keyless = new KeylessSignals();
  /** One alarm for the next expiry of all keys, so that the keys are scanned only when it rings. */
  readonly #nextExpiry: Alarm;
  readonly #unsaved: Unsaved;
  readonly #uses: Uses;

  constructor({ store, clock, makeRoom }: KeyringOptions) {
    this.#unsaved = new Unsaved(makeRoom);
    this.#uses = new Uses(store);
    this.#store = store;
    this.#clock = clock;
    this.#nextExpiry = new Alarm(clock, () => this.#watchExpiry());
    // Read before everything else, so that no later change is missed.
    this.#version = store.version();
    this.#tombstones = new Set(store.tombstones());
    this.#frozen = store.frozen();
    if (this.#frozen) this.#takeFreeze(true);
    for (const key of store.keys()) this.#add(fromStored(key));
  }

  /**
   * Checks configured keys without changing anything. `anonymous` holds the roles of callers without a key; null if
   * there are no such callers. Throws KeyError.
   */
  prepare(keys: readonly KeyOptions[], anonymous: readonly string[] | null = null): PreparedKeys {
    const entries = keys.map(fromOptions);
    refuseDuplicates(entries, this.#entries("store"));
    return { entries, anonymous };
  }

  /** Puts configured keys into effect, and ends the streams of keys and anonymous callers whose rights changed. */
  apply({ entries, anonymous }: PreparedKeys): void {
    this.#keyless.takeAnonymous(anonymous);
    // All callers are anonymous from now on, so streams of key holders would belong to a different caller.
    if (anonymous !== null) for (const entry of this.#byId.values()) cut(entry, "dropped");
    const wanted = new Map(entries.map((entry) => [entry.id, entry]));
    for (const entry of this.#entries("config")) {
      const next = wanted.get(entry.id);
      if (next && sameKey(entry, next)) wanted.delete(entry.id);
      else this.#drop(entry);
    }
    for (const entry of wanted.values()) this.#add(entry);
    this.#uses.keep(this.#byId);
  }

  /** Returns warnings about configured keys whose id was revoked with another secret. */
  warnings({ entries }: PreparedKeys): string[] {
    return entries.flatMap(({ id, hash }, index) =>
      this.#tombstones.has(id) && !this.#tombstones.has(keyHash(hash))
        ? [`auth.keys[${index}].id: key ${id} was revoked; give a new secret another id`]
        : [],
    );
  }

  /** Returns the entry whose key has this SHA-256, in hex; null if there is none. */
  find(hash: string): Entry | null {
    return this.#byHash.get(hash) ?? null;
  }

  state(entry: Entry): KeyState {
    if (this.#isRevoked(entry)) return "revoked";
    if (entry.inert !== null) return "inert";
    if (!entry.enabled) return "disabled";
    return entry.expiresAt !== null && entry.expiresAt <= this.#now() ? "expired" : "active";
  }

  /** Returns the principal of a usable key and notes its use. It is the same object until the key changes. */
  principal(entry: Entry): Principal {
    this.#uses.note(entry.id, Math.floor(this.#now()));
    // Set only here, because a key that is not in use has no streams to end at its expiry.
    if (entry.expiresAt !== null && entry.expiresAt < this.#nextExpiry.at) this.#nextExpiry.set(entry.expiresAt);
    return (entry.principal ??= new KeyPrincipal(entry));
  }

  /** Creates and stores a new key; only the returned value holds its secret text. Throws KeyError. */
  create(request: NewKeyRequest): CreatedKey {
    let made = newKey();
    while (this.#byId.has(made.id)) made = newKey();
    const { id, key, hash } = made;
    const stored = { ...request, id, hash, enabled: true, createdAt: Math.floor(this.#now()), revokedAt: null };
    const entry = fromStored(stored);
    this.#store.addKey(stored);
    this.#add(entry);
    return { ...describe(entry, this.state(entry)), key };
  }

  /** Creates a key with the rights of an active stored key, which stays valid until it is revoked. Throws KeyError. */
  successor(id: string): CreatedKey {
    const old = this.#known(id);
    if (old.source === "config") throw new KeyError(`key ${id} is in the configuration file; change it there`);
    const state = this.state(old);
    if (state !== "active") throw new KeyError(`key ${id} is ${state}; create a new one`);
    const { name, consumerId, roles, expiresAt, cidrs } = old;
    return this.create({ name, consumerId, roles, expiresAt, cidrs, perMinute: old.rate?.perMinute ?? null });
  }

  /**
   * Revokes a key permanently, in memory first: if the store fails, the key is refused anyway and the write is retried.
   * Returns the hash under which the secret of a configured key stays revoked; null for a stored key. Throws KeyError.
   */
  revoke(id: string): string | null {
    const entry = this.#known(id);
    const at = Math.floor(this.#now());
    if (entry.source === "store") {
      entry.revoked = true;
      cut(entry, "revoked");
      this.#unsaved.save(id, () => this.#store.revokeKey(id, at));
      return null;
    }
    // Marked by id and by hash, so that the same secret also stays revoked under another id.
    const hash = keyHash(entry.hash);
    const marks = [id, hash];
    for (const mark of marks) this.#tombstones.add(mark);
    cut(entry, "revoked");
    this.#unsaved.save(id, () => {
      for (const mark of marks) this.#store.addTombstone(mark, at);
    });
    return hash;
  }

  list(): KeyInfo[] {
    return [...this.#byId.values()].map((entry) => describe(entry, this.state(entry)));
  }

  /** Returns when each key was last used, as far as known: sampled epoch ms by key id. */
  lastUses(): ReadonlyMap<string, number> {
    return this.#uses.all();
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  /** Refuses every caller from now on, also after a restart, and ends all streams. */
  freeze(): void {
    this.#takeFreeze(true);
    this.#unsaved.save(freezeMark, () => this.#store.setFrozen(true));
  }

  /** Whether every change that is in effect has been stored. */
  get saved(): boolean {
    return this.#unsaved.size === 0;
  }

  /** Tries, at shutdown, to store the rest; returns what could not be stored. */
  saveRest(): { readonly freeze: boolean; readonly revocations: number } {
    this.#unsaved.again();
    this.#uses.saveAll();
    const freeze = this.#unsaved.has(freezeMark);
    return { freeze, revocations: this.#unsaved.size - Number(freeze) };
  }

  /** Drops the changes that could not be stored; the operator is told that they were not made. */
  giveUp(): void {
    this.#unsaved.clear();
  }

  unfreeze(): void {
    this.#store.setFrozen(false);
    this.#unsaved.forget(freezeMark);
    this.#takeFreeze(false);
  }

  /** Applies changes that other processes stored, and ends streams of revoked keys; cheap if nothing changed. */
  refresh(): void {
    const version = this.#store.version();
    if (version === this.#version) return;
    const frozen = this.#store.frozen();
    const stored = this.#store.keys();
    if (frozen !== this.#frozen && !this.#unsaved.has(freezeMark)) this.#takeFreeze(frozen);
    for (const mark of this.#store.tombstones()) this.#tombstones.add(mark);
    for (const entry of this.#entries("config")) if (this.#isRevoked(entry)) cut(entry, "revoked");
    for (const key of stored) this.#takeStored(key);
    this.#version = version;
  }

  /** Returns the `revoked` signal of principals without a key, which aborts at the next freeze. */
  frozenSignal(): AbortSignal {
    return this.#keyless.frozenSignal;
  }

  /** Returns a signal like `frozenSignal`, which also aborts when the rights of anonymous callers change. */
  changedSignal(): AbortSignal {
    return this.#keyless.changedSignal;
  }

  [Symbol.dispose](): void {
    this.#nextExpiry[Symbol.dispose]();
    this.#unsaved[Symbol.dispose]();
    this.#uses[Symbol.dispose]();
  }

  #takeFreeze(on: boolean): void {
    this.#frozen = on;
    if (!on) return this.#keyless.unfreeze();
    this.#keyless.freeze();
    for (const entry of this.#byId.values()) cut(entry, "frozen");
  }

  // The process that stored the key may not know this configuration, so configured keys keep their ids and secrets.
  #takeStored(key: StoredKey): void {
    const known = this.#byId.get(key.id);
    if (!known && !this.#byHash.has(key.hash)) return this.#add(fromStored(key));
    if (known?.source !== "store" || key.revokedAt === null) return;
    known.revoked = true;
    cut(known, "revoked");
  }

  #now(): number {
    return this.#clock.now() / 1000;
  }

  #entries(source: Entry["source"]): Entry[] {
    return [...this.#byId.values()].filter((entry) => entry.source === source);
  }

  #known(id: string): Entry {
    const entry = this.#byId.get(id);
    if (!entry) throw new KeyError(`there is no key ${id}; \`mcpgw keys list\` shows all`);
    return entry;
  }

  #add(entry: Entry): void {
    this.#byHash.set(entry.hash, entry);
    this.#byId.set(entry.id, entry);
  }

  #drop(entry: Entry): void {
    this.#byHash.delete(entry.hash);
    this.#byId.delete(entry.id);
    cut(entry, "dropped");
  }

  #isRevoked({ revoked, source, id, hash }: Entry): boolean {
    if (source === "store") return revoked;
    return this.#tombstones.has(id) || this.#tombstones.has(keyHash(hash));
  }

  #watchExpiry(): void {
    const now = this.#now();
    let next = Infinity;
    for (const entry of this.#byId.values()) {
      if (entry.expiresAt === null) continue;
      if (entry.expiresAt > now) next = Math.min(next, entry.expiresAt);
      else if (entry.principal) cut(entry, "expired");
    }
    this.#nextExpiry.set(next);
  }
}

function cut(entry: Entry, why: Loss): void {
  entry.lost = why;
  entry.controller?.abort(why);
  entry.controller = null;
  entry.principal = null;
}

function refuseDuplicates(configured: readonly Entry[], stored: readonly Entry[]): void {
  const ids = new Map(stored.map((entry) => [entry.id, "the stored keys"]));
  const hashes = new Map(stored.map((entry) => [entry.hash, `stored key ${entry.id}`]));
  for (const [index, entry] of configured.entries()) {
    const path = ["auth", "keys", index, "id"];
    const twinId = ids.get(entry.id);
    if (twinId) throw new KeyError(`id ${entry.id} occurs twice, also in ${twinId}; give it another id`, path);
    const twin = hashes.get(entry.hash);
    if (twin) throw new KeyError(`key ${entry.id} has the same secret as ${twin}; every key needs its own`, path);
    ids.set(entry.id, "auth.keys");
    hashes.set(entry.hash, `key ${entry.id}`);
  }
}

function describe(entry: Entry, state: KeyState): KeyInfo {
  const { id, name, consumerId, roles, source, createdAt, expiresAt, cidrs } = entry;
  const facts = { id, name, consumerId, roles, source, createdAt, expiresAt, cidrs };
  return { ...facts, state, perMinute: entry.rate?.perMinute ?? null, reason: entry.inert };
}
