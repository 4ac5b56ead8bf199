import type { AuditEntry } from "../control/schemas.ts";

export const screens = ["calls", "servers", "consumers"] as const;
export type Screen = (typeof screens)[number];

/** The choices of the person at the keyboard. */
export type State = {
  readonly screen: Screen;
  readonly selected: number;
  readonly filter: string;
  /** Whether typed keys go into the filter. */
  readonly typing: boolean;
  /** The records at the moment of the pause; null while they flow. */
  readonly frozen: readonly AuditEntry[] | null;
  /** The item that is shown in full. */
  readonly open: Opened | null;
};

/** A record, or a server by its id. */
type Opened =
  | { readonly kind: "record"; readonly entry: AuditEntry }
  | { readonly kind: "server"; readonly id: string };

export const begin: State = {
  screen: "calls",
  selected: 0,
  filter: "",
  typing: false,
  frozen: null,
  open: null,
};

/** A key, and the content of the screen when it was pressed. */
export type Press = {
  readonly key: string;
  /** Records on the calls screen, in their order. */
  readonly records: readonly AuditEntry[];
  /** Ids on the servers screen, in their order. */
  readonly servers: readonly string[];
  /** Records before the filter. */
  readonly all: readonly AuditEntry[];
  /** Height of the screen, in rows. */
  readonly count: number;
};

type Act = (state: State, press: Press) => State;

const moveBy =
  (step: number): Act =>
  (state, { count }) =>
    state.open ? state : { ...state, selected: Math.max(0, Math.min(state.selected + step, count - 1)) };

const goTo =
  (screen: Screen): Act =>
  (state) => ({ ...state, screen, selected: 0, open: null });

const nextScreen: Act = (state, press) => {
  const next = screens[(screens.indexOf(state.screen) + 1) % screens.length] ?? "calls";
  return goTo(next)(state, press);
};

const onCalls =
  (act: Act): Act =>
  (state, press) =>
    state.screen === "calls" && !state.open ? act(state, press) : state;

const open: Act = (state, { records, servers }) => {
  const { screen, selected } = state;
  if (state.open) return state;
  const entry = records[selected];
  const id = servers[selected];
  if (screen === "calls" && entry) return { ...state, open: { kind: "record", entry } };
  if (screen === "servers" && id !== undefined) return { ...state, open: { kind: "server", id } };
  return state;
};

const keys: Readonly<Record<string, Act>> = {
  "1": goTo("calls"),
  "2": goTo("servers"),
  "3": goTo("consumers"),
  tab: nextScreen,
  up: moveBy(-1),
  k: moveBy(-1),
  down: moveBy(1),
  j: moveBy(1),
  pageup: moveBy(-10),
  pagedown: moveBy(10),
  escape: (state) => (state.open ? { ...state, open: null } : { ...state, filter: "" }),
  enter: open,
  p: onCalls((state, { all }) => ({ ...state, frozen: state.frozen ? null : all, selected: 0 })),
  "/": onCalls((state) => ({ ...state, typing: true })),
};

/** Longest filter. */
const maxFilter = 100;

function type(state: State, key: string): State {
  if (key === "enter") return { ...state, typing: false };
  if (key === "escape") return { ...state, typing: false, filter: "" };
  const filter =
    key === "backspace"
      ? state.filter.slice(0, -1)
      : key.length > 1 && key in named
        ? state.filter
        : state.filter + key;
  return { ...state, filter: filter.slice(0, maxFilter), selected: 0 };
}

const named = { up: 1, down: 1, pageup: 1, pagedown: 1, tab: 1 };

/** The choice after a key. */
export function act(state: State, press: Press): State {
  if (state.typing) return type(state, press.key);
  return (Object.hasOwn(keys, press.key) ? keys[press.key]?.(state, press) : null) ?? state;
}
