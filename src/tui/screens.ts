import { clock, latency, number } from "../control/format.ts";
import { because, ending, stateTones, subject, type Tone, toneOf } from "../control/present.ts";
import type { AuditEntry, ConsumerView } from "../control/schemas.ts";
import type { ServerStatus } from "../core/upstream.ts";
import { keyOf, matching } from "./records.ts";

/**
 * A column of fixed `width`, or one that shares the remaining width (`grow`); shown on terminals with at least `from`
 * columns.
 */
export type Column<T> = {
  readonly title: string;
  readonly width?: number;
  readonly grow?: number;
  readonly from?: number;
  readonly right?: true;
  text(row: T): string;
  tone?(row: T): Tone | "accent";
};

export type Shown = {
  readonly records: readonly AuditEntry[];
  readonly servers: readonly ServerStatus[];
  readonly consumers: readonly ConsumerView[];
};

/** Which records are shown. `paused` holds the records at the moment of the pause; null while not paused. */
export type Sieve = { readonly paused: readonly AuditEntry[] | null; readonly filter: string };

export type Opened =
  | { readonly kind: "record"; readonly entry: AuditEntry }
  | { readonly kind: "server"; readonly id: string };

type ScreenOf<T> = {
  readonly title: string;
  /** Help for the keys of this screen, in addition to those of all screens. */
  readonly keys: string;
  /** Shown if there are no rows. */
  readonly empty: string;
  readonly columns: readonly Column<T>[];
  rows(sieve: Sieve, shown: Shown): readonly T[];
  keyOf(row: T): string;
  open(row: T): Opened | null;
};

/** Checks that columns and rows have the same type, then hides that type from code that shows a screen. */
const screen = <T>(of: ScreenOf<T>): ScreenOf<unknown> => of;

const counted = (value: number | null): string => (value === null ? "-" : number(value));

/** The screens by name, in the order of their keys: 1, 2, … */
export const screens = {
  calls: screen<AuditEntry>({
    title: "Calls",
    keys: "Enter record · p pause · / filter · ",
    empty: "no calls yet",
    columns: [
      { title: "TIME", width: 12, from: 50, text: ({ at }) => clock(at / 1_000), tone: () => "quiet" },
      { title: "CONSUMER", width: 16, from: 64, text: ({ consumer, caller }) => consumer ?? caller ?? "-" },
      { title: "TOOL", grow: 4, text: subject, tone: () => "accent" },
      { title: "STATUS", width: 12, text: ending, tone: (entry) => toneOf(ending(entry)) },
      { title: "TOOK", width: 9, from: 78, right: true, text: ({ us }) => latency(us) },
      { title: "WHY", grow: 5, from: 100, text: because },
    ],
    rows: ({ paused, filter }, { records }) => matching(paused ?? records, filter),
    keyOf,
    open: (entry) => ({ kind: "record", entry }),
  }),
  servers: screen<ServerStatus>({
    title: "Servers",
    keys: "Enter server · ",
    empty: "no servers",
    columns: [
      { title: "SERVER", width: 20, text: ({ id }) => id, tone: () => "accent" },
      { title: "STATE", width: 12, text: ({ state }) => state, tone: ({ state }) => stateTones[state] },
      { title: "TRANSPORT", width: 9, from: 70, text: ({ transport }) => transport },
      { title: "PROTOCOL", width: 10, from: 90, text: ({ revision }) => revision ?? "-" },
      { title: "TOOLS", width: 5, from: 36, right: true, text: ({ tools }) => String(tools) },
      { title: "NOW", width: 5, from: 60, right: true, text: ({ inFlight }) => String(inFlight) },
      { title: "RESTARTS", width: 8, from: 80, right: true, text: ({ restarts }) => String(restarts) },
      { title: "REASON", grow: 1, from: 56, text: ({ reason }) => reason ?? "" },
    ],
    rows: (_sieve, { servers }) => servers,
    keyOf: ({ id }) => id,
    open: ({ id }) => ({ kind: "server", id }),
  }),
  consumers: screen<ConsumerView>({
    title: "Consumers",
    keys: "",
    empty: "no consumers",
    columns: [
      { title: "CONSUMER", width: 20, text: ({ consumer }) => consumer, tone: () => "accent" },
      { title: "CALLS 24h", width: 9, right: true, text: ({ calls }) => counted(calls) },
      {
        title: "ERRORS",
        width: 8,
        from: 43,
        right: true,
        text: ({ errors }) => counted(errors),
        tone: ({ errors }) => (errors ? "doubtful" : "quiet"),
      },
      {
        title: "DENIED",
        width: 8,
        from: 34,
        right: true,
        text: ({ denied }) => counted(denied),
        tone: ({ denied }) => (denied ? "bad" : "quiet"),
      },
      { title: "NOW", width: 5, from: 64, right: true, text: ({ inFlight }) => String(inFlight) },
      { title: "KEYS", width: 5, from: 70, right: true, text: ({ keys }) => String(keys) },
      { title: "ROLES", grow: 1, from: 64, text: ({ roles }) => roles.join(", ") },
    ],
    rows: (_sieve, { consumers }) => consumers,
    keyOf: ({ consumer }) => consumer,
    open: () => null,
  }),
};
export type ScreenName = keyof typeof screens;
export const screenNames = Object.keys(screens) as ScreenName[]; // the table's own keys
