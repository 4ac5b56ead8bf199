import { type BoundedMap, createBoundedMap } from "../core/bounded-map.ts";
import type { Route } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import { Counts } from "../core/counts.ts";
import { Failure } from "../core/failure.ts";
import { compileGlob } from "../core/glob.ts";
import { memoize } from "../core/memoize.ts";
import { splitSelector } from "../core/name.ts";
import { perValue } from "../core/inbound.ts";
import type { Limits } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import { type Rate, rateText, toRate } from "../core/rate.ts";
import { Room } from "../core/room.ts";
import { type Bucket, fullBucket, refill, waitFor } from "./bucket.ts";
import type { LimitsOptions } from "./options.ts";
import { createFailures, createThrottle, type Failures } from "./throttle.ts";

// Buckets have no maximum age: a forgotten one would be full again, but a large burst may take months to refill.
const maxBuckets = 200_000;

/** Maximum weight of the requests in flight (`weightOf`), of one principal and of all. */
const weights = { ofOne: 64 * 1024 ** 2, ofAll: 256 * 1024 ** 2 };

type Buckets = BoundedMap<Bucket>;
type ToolLimit = {
  readonly name: string;
  /** Its position among the limits of the same name; identifies it even if a reload changes its rate. */
  readonly nth: number;
  readonly rate: Rate;
  readonly covers: (route: Route) => boolean;
};
/** A limit, and the bucket that its calls take tokens from. */
type Drawn = { readonly name: string; readonly rate: Rate; readonly bucket: Bucket };

/** The state of the limits; it survives reloads, so that no reload hands out tokens. */
export type LimitsState = {
  readonly consumers: Buckets;
  readonly keys: Buckets;
  readonly tools: Buckets;
  readonly failures: Failures;
  /** Requests in flight by principal, and their weight. */
  readonly inFlight: Counts;
  readonly weight: Room;
};

/** Creates the state that all `Limits` of a process share. */
export function createLimitsState(clock: Clock): LimitsState {
  const buckets = (): Buckets => createBoundedMap({ cap: maxBuckets, clock });
  const failures = createFailures(clock);
  const [inFlight, weight] = [new Counts(), new Room(weights)];
  return { consumers: buckets(), keys: buckets(), tools: buckets(), failures, inFlight, weight };
}

/** Creates admission, token buckets and the throttle for failing sources on top of this state. */
export function createLimits(options: LimitsOptions, clock: Clock, state: LimitsState): Limits {
  const usual = options.perMinute === undefined ? null : toRate(options.perMinute, options.burst);
  const toolLimits = compileToolLimits(options.perTool);
  const limitsOf = memoize((route: Route) => toolLimits.filter((limit) => limit.covers(route)));
  /** Returns the limit on all calls of a principal: the key's own rate if it has one, else the consumer's. */
  const ownOf = ({ rate, keyId, consumerId }: Principal) => {
    if (rate && keyId) return { name: "rateLimit", rate, buckets: state.keys, key: keyId };
    return usual && { name: "perMinute", rate: usual, buckets: state.consumers, key: consumerId };
  };
  return {
    ...createThrottle(state.failures, clock),
    admit: (who, weight) => admit(state, options, who, weight),
    release(who, weight) {
      state.inFlight.add(who.id, -1);
      state.weight.add(who.id, -weight);
    },
    carry(who, weight) {
      addWeight(state, options, who, weight);
      return () => state.weight.add(who.id, -weight);
    },
    take(who, route) {
      const now = clock.mono();
      const drawn: Drawn[] = [];
      const own = ownOf(who);
      if (own) drawn.push({ ...own, bucket: bucketOf(own.buckets, own.key, own.rate, now) });
      if (route) {
        for (const { name, nth, rate } of limitsOf(route)) {
          const key = `${name}\n${nth}\n${who.consumerId}\n${route.canonical}`;
          drawn.push({ name, rate, bucket: bucketOf(state.tools, key, rate, now) });
        }
      }
      takeFrom(drawn, now);
    },
    barring(who, route) {
      const own = ownOf(who);
      const all = [...(own ? [own] : []), ...limitsOf(route)];
      return all.find(({ rate }) => rate.perMinute === 0)?.name ?? null;
    },
  };
}

function compileToolLimits(perTool: LimitsOptions["perTool"]): ToolLimit[] {
  const named = new Counts();
  return perTool.map(({ tool, server, perMinute, burst }) => {
    const selected = splitSelector(tool, server);
    const isServer = compileGlob(selected.server ?? "*");
    const isTool = compileGlob(selected.name);
    const name = `perTool ${server === undefined ? tool : `${server}:${tool}`}`;
    named.add(name);
    return {
      name,
      nth: named.of(name),
      rate: toRate(perMinute, burst),
      covers: (route) => isServer(route.server) && route.kind === "tool" && isTool(route.name),
    };
  });
}

function admit(state: LimitsState, options: LimitsOptions, who: Principal, weight: number): void {
  const { inFlight } = options;
  if (state.inFlight.total >= inFlight.total)
    throw overloaded("The gateway is", `${inFlight.total} requests`, "inFlight.total");
  if (state.inFlight.of(who.id) >= inFlight.perPrincipal)
    throw overloaded("You are", `${inFlight.perPrincipal} requests`, "inFlight.perPrincipal");
  addWeight(state, options, who, weight);
  state.inFlight.add(who.id);
}

function addWeight(state: LimitsState, { body, nodes }: LimitsOptions, who: Principal, weight: number): void {
  const full = state.weight.exceededBound(who.id, weight, body + perValue * nodes);
  if (full) throw overloaded(full.of === "one" ? "You are" : "The gateway is", charactersOf(full.most));
  state.weight.add(who.id, weight);
}

const charactersOf = (most: number): string => `${most} characters of requests (each value counts as ${perValue} more)`;

const overloaded = (who: string, most: string, limit?: string): Failure =>
  new Failure("overloaded", `${who} at the limit of ${most} in flight; try again when some are answered.`, {
    limit,
    retryAfterMs: 1000,
  });

function bucketOf(buckets: Buckets, key: string, rate: Rate, now: number): Bucket {
  const known = buckets.get(key);
  if (known) return known;
  const bucket = fullBucket(rate, now);
  buckets.set(key, bucket);
  return bucket;
}

/** Takes one token from every bucket, or none if any is empty; the refusal names the limit with the longest wait. */
function takeFrom(drawn: readonly Drawn[], now: number): void {
  let last: Drawn | null = null;
  let longest = 0;
  for (const one of drawn) {
    refill(one.bucket, one.rate, now);
    const wait = waitFor(one.bucket, one.rate);
    if (wait > longest) [last, longest] = [one, wait];
  }
  if (last) throw limited(last, longest);
  for (const { bucket } of drawn) bucket.tokens--;
}

function limited({ name: limit, rate: { perMinute } }: Drawn, wait: number): Failure {
  if (wait === Infinity)
    return new Failure("rate-limited", `Limit ${limit} allows no calls; ask the operator.`, { limit });
  const message = `Limit ${limit} of ${rateText(perMinute)} reached; try again in ${Math.ceil(wait / 1000)} s.`;
  return new Failure("rate-limited", message, { limit, retryAfterMs: wait });
}
