import { type Opened, screenNames, type ScreenName, screens, type Shown, type Sieve } from "./screens.ts";

export type State = Sieve & {
  readonly screen: ScreenName;
  /** The key of the selected row, which may no longer exist; null means whichever row is first. */
  readonly selected: string | null;
  /** Whether typed keys go into the filter. */
  readonly typing: boolean;
  readonly open: Opened | null;
  readonly quit: boolean;
};

export const begin: State = {
  screen: "calls",
  selected: null,
  filter: "",
  typing: false,
  paused: null,
  open: null,
  quit: false,
};

/** A key press, and the data at that time before filter and pause. */
export type Press = Shown & { readonly key: string };

/** Returns the index of the selected row; -1 if it is gone. */
export const indexIn = (rows: readonly string[], selected: string | null): number =>
  selected === null ? 0 : rows.indexOf(selected);

type Act = (state: State, press: Press) => State;

const moveBy =
  (step: number): Act =>
  (state, press) => {
    if (state.open) return state;
    const { rows: rowsOf, keyOf } = screens[state.screen];
    const rows = rowsOf(state, press).map(keyOf);
    const to = Math.min(indexIn(rows, state.selected) + step, rows.length - 1);
    return { ...state, selected: to > 0 ? (rows[to] ?? null) : null };
  };

const goTo =
  (screen: ScreenName): Act =>
  (state) => ({ ...state, screen, selected: null, open: null });

const nextScreen: Act = (state, press) => {
  const next = screenNames[(screenNames.indexOf(state.screen) + 1) % screenNames.length] ?? "calls";
  return goTo(next)(state, press);
};

const onCalls =
  (act: Act): Act =>
  (state, press) =>
    state.screen === "calls" && !state.open ? act(state, press) : state;

const open: Act = (state, press) => {
  if (state.open) return state;
  const { rows: rowsOf, keyOf, open: openedOf } = screens[state.screen];
  const rows = rowsOf(state, press);
  const row = rows[indexIn(rows.map(keyOf), state.selected)];
  return row === undefined ? state : { ...state, open: openedOf(row) };
};

/** How many rows or lines each key moves. */
export const steps: ReadonlyMap<string, number> = new Map([
  ["<up>", -1],
  ["k", -1],
  ["<down>", 1],
  ["j", 1],
  ["<pageup>", -10],
  ["<pagedown>", 10],
]);

const keys: Readonly<Record<string, Act>> = {
  ...Object.fromEntries(screenNames.map((name, index) => [String(index + 1), goTo(name)])),
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
  const filter = key === "<backspace>" ? state.filter.replace(/.$/su, "") : state.filter + key;
  return { ...state, filter: filter.slice(0, maxFilter), selected: null };
}

/** Returns the state after a key press. */
export function act(state: State, press: Press): State {
  if (state.typing) return type(state, press.key);
  return keys[press.key]?.(state, press) ?? state;
}
