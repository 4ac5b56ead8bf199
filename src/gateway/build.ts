import { createAuthn } from "../authn/index.ts";
import type { Keyring } from "../authn/keyring.ts";
import { createCatalog } from "../catalog/index.ts";
import type { Config } from "../config/schema.ts";
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { Audit, Catalog, LocalServer, Metrics } from "../core/ports.ts";
import type { Self } from "../core/self.ts";
import type { ListStore } from "../core/store.ts";
import { createUlid } from "../core/ulid.ts";
import { createLimits, type LimitsState } from "../limits/index.ts";
import { createPolicy } from "../policy/index.ts";
import { createUpstreams, type ManagedUpstreams } from "../upstream/upstreams.ts";
import { createValidator } from "../validate/index.ts";
import type { Gateway } from "./gateway.ts";

/** What outlives a reload: every gateway of a process is built on these. */
export type Foundations = {
  readonly keyring: Keyring;
  readonly limits: LimitsState;
  readonly audit: Audit;
  readonly metrics: Metrics;
  readonly lists: ListStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly self: Self;
  /** Marks the child processes of this run. */
  readonly run: string;
};

export type BuildOptions = {
  readonly config: Config;
  readonly foundations: Foundations;
  readonly local: readonly LocalServer[];
  /** The upstreams of the gateway that this one replaces; unchanged servers are taken over. */
  readonly previous: ManagedUpstreams | null;
  /** Called after the tools of any server changed. */
  readonly onTools: () => void;
};

/** A gateway that is complete but has no effect yet: nothing is started, nothing taken over. */
export type Built = {
  readonly gateway: Gateway;
  readonly upstreams: ManagedUpstreams;
  readonly warnings: readonly string[];
  /** Puts it into force: keys, servers. */
  activate(): void;
};

/** How long `tools/list` waits for servers that are still starting. */
const bootWait = 10_000;

/** Compiles a configuration into a gateway (ARCHITECTURE D5). Throws what a module finds wrong; then nothing has changed. */
export function buildGateway({ config, foundations, local, previous, onTools }: BuildOptions): Built {
  const { keyring, clock, log, audit } = foundations;
  const keys = keyring.prepare(config.auth.keys);
  const policy = createPolicy({
    rules: config.rules,
    policies: config.policies,
    roles: rolesOf(config, keyring),
    servers: config.servers.map(({ id }) => id),
  });
  const limits = createLimits({ options: config.limits, clock, state: foundations.limits });
  const validator = createValidator({
    clock,
    warn: (tool, message) => log.warn("tool schema", { tool: tool.name, cause: message }),
  });
  const { body, depth, nodes, result } = config.limits;
  const identity = { name: config.gateway.name, version: foundations.self.version };
  const upstreams = createUpstreams({
    servers: config.servers,
    local: config.gateway.tools ? local : [],
    limits: { result, depth, nodes },
    clock,
    log,
    lists: foundations.lists,
    self: foundations.self,
    run: foundations.run,
    client: identity,
    refuses: validator.refuses,
    note: (event) =>
      void audit.note(event).catch((error: unknown) => log.warn("event not recorded", { cause: String(error) })),
    previous,
  });
  const compileCatalog = (before: Catalog | null) =>
    createCatalog({
      servers: config.servers,
      listings: upstreams.listings(),
      names: config.names,
      policy,
      validator,
      ...(before && { previous: before }),
    });
  const gateway: Gateway = {
    identity,
    authn: createAuthn({ options: config.auth, keyring, throttle: limits }),
    limits,
    policy,
    catalog: compileCatalog(null),
    validator,
    upstreams,
    booted: Promise.resolve(),
    audit,
    metrics: foundations.metrics,
    clock,
    nextId: createUlid(() => clock.now() / 1000),
    log,
    shape: { body, depth, nodes },
  };
  return {
    gateway,
    upstreams,
    warnings: [...keys.warnings, ...policy.warnings],
    activate() {
      keyring.commit(keys);
      upstreams.activate();
      gateway.catalog = compileCatalog(gateway.catalog);
      gateway.booted = Promise.race([upstreams.settled(), Bun.sleep(bootWait)]);
      upstreams.onChange(() => {
        gateway.catalog = compileCatalog(gateway.catalog);
        onTools();
      });
    },
  };
}

function rolesOf({ auth }: Config, keyring: Keyring): string[] {
  const given = [...auth.keys, ...keyring.list()].flatMap(({ roles }) => roles);
  return [...new Set([...given, ...(auth.stdio?.roles ?? []), ...(auth.roles ?? [])])];
}
