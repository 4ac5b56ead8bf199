import type { AuditEntry, ConsumerView } from "../control/schemas.ts";
import type { ServerStatus } from "../core/upstream.ts";
import { keyOf, matching } from "./records.ts";

export const screens = ["calls", "servers", "consumers"] as const;
export type Screen = (typeof screens)[number];

/** The choices of the person at the keyboard. */
export type State = {
  readonly screen: Screen;
  /** The key of the selected row, which may be gone by now; null: the first row, whichever it is. */
  readonly selected: string | null;
  readonly filter: string;
  /** Whether typed keys go into the filter. */
  readonly typing: boolean;
  /** The records at the moment of the pause; null while they flow. */
  readonly paused: readonly AuditEntry[] | null;
  /** The item that is shown in full. */
  readonly open: Opened | null;
  readonly quit: boolean;
};

type Opened =
  | { readonly kind: "record"; readonly entry: AuditEntry }
  | { readonly kind: "server"; readonly id: string };

export const begin: State = {
  screen: "calls",
  selected: null,
  filter: "",
  typing: false,
  paused: null,
  open: null,
  quit: false,
};

/** A key, and what there was to show when it was pressed. */
export type Press = {
  readonly key: string;
  /** The records without filter and pause. */
  readonly records: readonly AuditEntry[];
  readonly servers: readonly Pick<ServerStatus, "id">[];
  readonly consumers: readonly Pick<ConsumerView, "consumer">[];
};

/** The records that pause and filter leave. */
export const callsOf = ({ paused, filter }: State, { records }: Pick<Press, "records">): readonly AuditEntry[] =>
  matching(paused ?? records, filter);

/** The keys of the rows of each screen. */
const rowsOf: Record<Screen, (state: State, press: Press) => readonly string[]> = {
  calls: (state, press) => callsOf(state, press).map(keyOf),
  servers: (_state, { servers }) => servers.map(({ id }) => id),
  consumers: (_state, { consumers }) => consumers.map(({ consumer }) => consumer),
};

/** Where the selected row is among these keys; -1 if it is gone. */
export const indexIn = (rows: readonly string[], selected: string | null): number =>
  selected === null ? 0 : rows.indexOf(selected);

type Act = (state: State, press: Press) => State;

const moveBy =
  (step: number): Act =>
  (state, press) => {
    if (state.open) return state;
    const rows = rowsOf[state.screen](state, press);
    const to = Math.min(indexIn(rows, state.selected) + step, rows.length - 1);
    return { ...state, selected: to > 0 ? (rows[to] ?? null) : null };
  };

const goTo =
  (screen: Screen): Act =>
  (state) => ({ ...state, screen, selected: null, open: null });

const nextScreen: Act = (state, press) => {
  const next = screens[(screens.indexOf(state.screen) + 1) % screens.length] ?? "calls";
  return goTo(next)(state, press);
};

const onCalls =
  (act: Act): Act =>
  (state, press) =>
    state.screen === "calls" && !state.open ? act(state, press) : state;

const open: Act = (state, press) => {
  if (state.open) return state;
  const { screen, selected } = state;
  const at = indexIn(rowsOf[screen](state, press), selected);
  const entry = callsOf(state, press)[at];
  const server = press.servers[at];
  if (screen === "calls" && entry) return { ...state, open: { kind: "record", entry } };
  if (screen === "servers" && server) return { ...state, open: { kind: "server", id: server.id } };
  return state;
};

/** How far each key moves through rows and lines. */
export const steps: ReadonlyMap<string, number> = new Map([
  ["<up>", -1],
  ["k", -1],
  ["<down>", 1],
  ["j", 1],
  ["<pageup>", -10],
  ["<pagedown>", 10],
]);

const keys: Readonly<Record<string, Act>> = {
  "1": goTo("calls"),
  "2": goTo("servers"),
  "3": goTo("consumers"),
  "<tab>": nextScreen,
  ...Object.fromEntries(Array.from(steps, ([key, step]) => [key, moveBy(step)])),
  "<escape>": (state) => (state.open ? { ...state, open: null } : { ...state, filter: "" }),
  "<enter>": open,
  p: onCalls((state, { records }) => ({ ...state, paused: state.paused ? null : records })),
  "/": onCalls((state) => ({ ...state, typing: true })),
  q: (state) => ({ ...state, quit: true }),
};

const maxFilter = 100;

const moving = new Set(["<up>", "<down>", "<pageup>", "<pagedown>", "<tab>"]);

function type(state: State, key: string): State {
  if (key === "<enter>") return { ...state, typing: false };
  if (key === "<escape>") return { ...state, typing: false, filter: "" };
  if (moving.has(key)) return state;
  const filter = key === "<backspace>" ? state.filter.slice(0, -1) : state.filter + key;
  return { ...state, filter: filter.slice(0, maxFilter), selected: null };
}

/** The choice after a key. */
export function act(state: State, press: Press): State {
  if (state.typing) return type(state, press.key);
  return keys[press.key]?.(state, press) ?? state;
}
