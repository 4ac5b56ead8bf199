import { createAuthn } from "../authn/index.ts";
import type { Keyring } from "../authn/keyring.ts";
import { createCatalog } from "../catalog/catalog.ts";
import { createHandedOut, type HandedOut } from "../catalog/handed-out.ts";
import type { Config } from "../config/schema.ts";
import { ownServer } from "../core/name.ts";
import type { Catalog, LocalServer, Validator } from "../core/ports.ts";
import type { Self } from "../core/self.ts";
import type { ListStore } from "../core/store.ts";
import type { Notice } from "../core/upstream.ts";
import { within } from "../core/wait.ts";
import { createLimits, type LimitsState } from "../limits/limits.ts";
import { createPolicy } from "../policy/policy.ts";
import { ManagedUpstreams } from "../upstream/upstreams.ts";
import { createValidator } from "../validate/validate.ts";
import type { Gateway } from "./gateway.ts";
import { askSession } from "./input/asking.ts";
import { nameless } from "./nameless.ts";
import { createUlid } from "./ulid.ts";
import { unoffered } from "./unoffered.ts";

/** The parts that survive a reload; every gateway of a process is built on them. */
type Foundations = Omit<Gateway, keyof Own> & {
  readonly keyring: Keyring;
  readonly limits: LimitsState;
  readonly lists: ListStore;
  readonly self: Self;
  /** The id that marks the child processes of this run. */
  readonly run: string;
  /** Returns the current values that no log may show. */
  readonly secrets: () => readonly string[];
  /** Receives the messages of servers outside of any exchange. */
  readonly notice: (notice: Notice) => void;
};

export type BuildOptions = {
  readonly config: Config;
  readonly foundations: Foundations;
  readonly local: readonly LocalServer[];
  /** The gateway that this one replaces; its unchanged servers keep running. */
  readonly previous: Pick<Built, "gateway" | "upstreams" | "handedOut"> | null;
  readonly onTools: () => void;
};

/** A complete gateway that has no effect yet: nothing is started or taken over from the previous one. */
export type Built = {
  readonly gateway: Gateway;
  readonly upstreams: ManagedUpstreams;
  /** URIs that callers got in results, and which they may still use after a reload. */
  readonly handedOut: HandedOut;
  /** Returns warnings about rules, roles and keys that have no effect with the current keys and servers. */
  warnings(): string[];
  /** Puts only the keys into effect, because callers must be identified before anything is started for them. */
  takeKeys(): void;
  /** Puts the whole gateway into effect: keys, servers and listeners. */
  activate(): void;
};

/** How long `tools/list` waits for servers that are still starting, ms. */
const bootWait = 10_000;

/** Compiles a configuration into a gateway. Throws, with nothing changed, if a module rejects the configuration. */
export function buildGateway(options: BuildOptions): Built {
  const { config, foundations, onTools } = options;
  const { keyring, clock } = foundations;
  const { type, roles, keys: configured } = config.auth;
  const keys = keyring.prepare(configured, type === "none" ? (roles ?? []) : null);
  const policy = createPolicy(config);
  const servers = config.servers.map(({ id }) => id);
  // Kept over reloads, because it holds no configuration and what it knows about schemas is slow to compute.
  const validator = options.previous?.gateway.validator ?? createValidator(clock);
  const upstreams = openUpstreams(options, validator);
  const handedOut = options.previous?.handedOut ?? createHandedOut(clock);
  const catalogOf = compiler(options, { upstreams, policy, handedOut });
  const gateway = assemble(options, { policy, validator, upstreams, catalog: catalogOf(null) });
  const missed = unoffered(() => ({ ...config, rules: policy.mentions() }), gateway);
  return {
    gateway,
    upstreams,
    handedOut,
    warnings: () => [
      ...policy.warnings(rolesIn(config), storedRoles(keyring)),
      ...keyring.warnings(keys),
      ...(config.listen.behindTlsProxy ? confined(keyring) : []),
      ...missed(),
      ...nameless(gateway.catalog),
    ],
    takeKeys: () => keyring.apply(keys),
    activate() {
      keyring.apply(keys);
      const keeps = upstreams.activate();
      gateway.catalog = catalogOf(gateway.catalog);
      const serves = new Set([ownServer, ...servers]);
      handedOut.serve(serves);
      foundations.listeners.endUnserved({ serves, keeps, hasScope: (scope) => gateway.catalog.hasScope(scope) });
      const listed = within(upstreams.settled(), bootWait, null, () => {});
      gateway.settled = Promise.all([gateway.settled, listed]).then(() => {});
      upstreams.onChange(() => {
        gateway.catalog = catalogOf(gateway.catalog);
        onTools();
      });
      upstreams.onCallerChange(onTools);
    },
  };
}

type Parts = Pick<Gateway, "policy" | "validator" | "upstreams" | "catalog">;
type Own = Parts & Pick<Gateway, "identity" | "authn" | "limits" | "settled" | "nextId" | "caps">;

function assemble({ config, foundations, previous }: BuildOptions, parts: Parts): Gateway {
  const { keyring, clock, self } = foundations;
  const limits = createLimits(config.limits, clock, foundations.limits);
  return {
    ...foundations,
    ...parts,
    identity: { name: config.gateway.name, version: self.version },
    authn: createAuthn({ options: config.auth, keyring, throttle: limits }),
    limits,
    // Servers that are taken over are waited for only once, not again at each reload.
    settled: previous?.gateway.settled ?? Promise.resolve(),
    nextId: createUlid(() => clock.now() / 1000),
    caps: config.limits,
  };
}

function openUpstreams({ config, foundations, local, previous }: BuildOptions, validator: Validator): ManagedUpstreams {
  const { audit, log, self } = foundations;
  return new ManagedUpstreams({
    ...foundations,
    ...validator,
    servers: config.servers,
    local: config.gateway.tools ? local : [],
    limits: config.limits,
    client: { name: config.gateway.name, version: self.version },
    record: (event) =>
      void audit.recordEvent(event).catch((error: unknown) => {
        log.warn("event not recorded", { type: event.type, cause: String(error) }, event.type);
      }),
    askSession: (question, signal) => askSession(foundations, question, signal),
    canAskSession: (session, owner) => foundations.notifier.reach(session)?.who.id === owner,
    previous: previous?.upstreams ?? null,
  });
}

type CatalogParts = Pick<Parts, "policy"> & Pick<Built, "upstreams" | "handedOut">;

/** Returns a function that builds the current catalog and reuses the unchanged parts of the previous one. */
function compiler({ config, foundations }: BuildOptions, { upstreams, ...parts }: CatalogParts) {
  const { servers, toolsets, names, limits } = config;
  const { sealer, clock, log } = foundations;
  const failed = (server: string, error: unknown): void =>
    log.error("failed to process the lists of a server, which offers nothing now", { server, cause: String(error) });
  return (previous: Catalog | null): Catalog =>
    createCatalog({
      servers,
      toolsets,
      names,
      page: limits.page,
      ...parts,
      sealer,
      clock,
      failed,
      listings: upstreams.listings(),
      callerTools: upstreams.callerTools,
      previous,
    });
}

const rolesIn = ({ auth }: Config): string[] => [
  ...auth.keys.flatMap(({ roles }) => roles),
  ...(auth.stdio?.roles ?? []),
  ...(auth.roles ?? []),
];

const storedRoles = (keyring: Keyring): string[] =>
  keyring.list().flatMap(({ source, roles }) => (source === "store" ? roles : []));

/** Warns about stored keys with networks behind a proxy; `config check` warns about keys in the configuration file. */
function confined(keyring: Keyring): string[] {
  const ids = keyring
    .list()
    .flatMap(({ id, source, state, cidrs }) =>
      source === "store" && state === "active" && cidrs.length > 0 ? [id] : [],
    );
  if (ids.length === 0) return [];
  const whose = ids.length === 1 ? `key ${ids[0]}` : `${ids.length} keys, e.g. ${ids[0]},`;
  return [`the networks of ${whose} are compared with the address of the proxy, from which all calls come`];
}
