import type { AuditEntry } from "../control/schemas.ts";
import type { ServerStatus } from "../core/upstream.ts";

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
  readonly paused: readonly AuditEntry[] | null;
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
  paused: null,
  open: null,
};

/** A key, and what the screens showed when it was pressed. */
export type Press = {
  readonly key: string;
  readonly calls: readonly AuditEntry[];
  readonly servers: readonly Pick<ServerStatus, "id">[];
  readonly consumers: readonly unknown[];
  /** The records without filter and pause. */
  readonly records: readonly AuditEntry[];
};

type Act = (state: State, press: Press) => State;

const moveBy =
  (step: number): Act =>
  (state, press) => {
    const last = press[state.screen].length - 1;
    return state.open ? state : { ...state, selected: Math.max(0, Math.min(state.selected + step, last)) };
  };

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

const open: Act = (state, { calls, servers }) => {
  const { screen, selected } = state;
  if (state.open) return state;
  const entry = calls[selected];
  const server = servers[selected];
  if (screen === "calls" && entry) return { ...state, open: { kind: "record", entry } };
  if (screen === "servers" && server) return { ...state, open: { kind: "server", id: server.id } };
  return state;
};

const keys: Readonly<Record<string, Act>> = {
  "1": goTo("calls"),
  "2": goTo("servers"),
  "3": goTo("consumers"),
  "<tab>": nextScreen,
  "<up>": moveBy(-1),
  k: moveBy(-1),
  "<down>": moveBy(1),
  j: moveBy(1),
  "<pageup>": moveBy(-10),
  "<pagedown>": moveBy(10),
  "<escape>": (state) => (state.open ? { ...state, open: null } : { ...state, filter: "" }),
  "<enter>": open,
  p: onCalls((state, { records }) => ({ ...state, paused: state.paused ? null : records, selected: 0 })),
  "/": onCalls((state) => ({ ...state, typing: true })),
};

/** Longest filter. */
const maxFilter = 100;

const moving = new Set(["<up>", "<down>", "<pageup>", "<pagedown>", "<tab>"]);

function type(state: State, key: string): State {
  if (key === "<enter>") return { ...state, typing: false };
  if (key === "<escape>") return { ...state, typing: false, filter: "" };
  if (moving.has(key)) return state;
  const filter = key === "<backspace>" ? state.filter.slice(0, -1) : state.filter + key;
  return { ...state, filter: filter.slice(0, maxFilter), selected: 0 };
}

/** The choice after a key. */
export function act(state: State, press: Press): State {
  if (state.typing) return type(state, press.key);
  return (Object.hasOwn(keys, press.key) ? keys[press.key]?.(state, press) : null) ?? state;
}
