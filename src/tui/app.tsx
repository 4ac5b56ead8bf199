import { Box, Text, useApp, useWindowSize } from "ink";
import { useEffect, useReducer, useSyncExternalStore } from "react";
import { clock } from "../control/format.ts";
import { plain } from "../core/text.ts";
import type { Feed, View } from "./feed.ts";
import { RecordScreen, ServerScreen } from "./details.tsx";
import { useKeys } from "./keys.ts";
import { screenNames, screens } from "./screens.ts";
import { stoppable } from "./stop.ts";
import { act, begin, type State } from "./state.ts";
import { Table } from "./table.tsx";

const digits = screenNames.map((_name, index) => index + 1).join(" ");

const keysOf = ({ screen, open, typing }: State): string => {
  if (typing) return "type to filter · Enter keep · Esc clear";
  if (open) return "↑↓ scroll · Esc back · q quit";
  return `${digits} screens · ↑↓ select · ${screens[screen].keys}q quit`;
};

/** Returns the connection and gateway status as text, because colors may be off. */
function markOf({ paused }: State, { link, heard, gateway }: View): { color: string; text: string } {
  const since = heard === null ? "" : ` since ${clock(heard).slice(0, 8)}`;
  if (link === "silent") return { color: "red", text: `NOT ANSWERING${since}` };
  if (link === "lost") return { color: "yellow", text: `lost${since}` };
  if (link === "connecting" || gateway === null) return { color: "yellow", text: "connecting" };
  const refusing = [gateway.frozen ? "FROZEN" : [], gateway.notReady === null ? [] : "NOT READY"].flat();
  const text = [...refusing, paused ? "paused" : []].flat().join(", ") || "live";
  return { color: refusing.length > 0 ? "red" : paused ? "yellow" : "green", text };
}

function Title({ state, view }: { readonly state: State; readonly view: View }) {
  const mark = markOf(state, view);
  return (
    <Box height={1} flexShrink={0} justifyContent="space-between">
      <Text wrap="truncate">
        {screenNames.map((name, index) => (
          <Text key={name} bold={name === state.screen} dimColor={name !== state.screen}>
            {index + 1} {screens[name].title}
            {"  "}
          </Text>
        ))}
      </Text>
      <Box flexShrink={0}>
        <Text color={mark.color}>● {mark.text}</Text>
      </Box>
    </Box>
  );
}

/** The line for the filter and for notices to the operator. */
function Banner({ state, view, width }: Pick<BodyProps, "state" | "view" | "width">) {
  const filtered = state.screen === "calls" && !state.open && (state.typing || state.filter);
  return (
    <Box height={1} flexShrink={0} gap={2}>
      {filtered ? (
        <Box flexShrink={0} maxWidth={Math.floor(width / 2)}>
          <Text wrap="truncate-start">
            / {plain(state.filter)}
            {state.typing ? "▏" : ""}
          </Text>
        </Box>
      ) : null}
      <Notice view={view} />
    </Box>
  );
}

function Notice({ view }: { readonly view: View }) {
  if (view.trouble !== null)
    return (
      <Text color="black" backgroundColor="yellow" wrap="truncate">
        {" "}
        {plain(view.trouble)}; retrying{" "}
      </Text>
    );
  const refusal = refusalOf(view);
  const missed = view.missed > 0 ? `records missed because this terminal is too slow: ${view.missed}` : null;
  const unread = view.unread.map((chain) => `records of chain ${chain} cannot be read; see \`mcpgw audit verify\``);
  return (
    <Text color={refusal === null ? "yellow" : "red"} wrap="truncate">
      {[refusal && plain(refusal), missed, ...unread].filter(Boolean).join(" · ")}
    </Text>
  );
}

/** Returns why the gateway accepts no calls; null if it does. */
function refusalOf({ gateway }: View): string | null {
  if (gateway === null) return null;
  if (gateway.frozen) return "every caller is refused; `mcpgw keys unfreeze` ends the freeze";
  return gateway.notReady === null ? null : `not ready: ${gateway.notReady}`;
}

type BodyProps = {
  readonly state: State;
  readonly view: View;
  readonly feed: Feed;
  readonly width: number;
  readonly height: number;
};

function Body({ state, view, feed, width, height }: BodyProps) {
  const { open } = state;
  if (open?.kind === "record") return <RecordScreen feed={feed} entry={open.entry} width={width} height={height} />;
  if (open?.kind === "server") {
    const server = view.servers.find(({ id }) => id === open.id) ?? null;
    return <ServerScreen id={open.id} server={server} width={width} height={height} />;
  }
  const { columns, rows, keyOf } = screens[state.screen];
  const table = { columns, rows: rows(state, view), keyOf, selected: state.selected, empty: whyEmpty(state, view) };
  return <Table {...table} width={width} height={height} />;
}

/** Returns why a table is empty: no match, no connection, or nothing to show. */
function whyEmpty({ screen }: State, { link, gateway, records }: View): string {
  if (screen === "calls" && records.length > 0) return "nothing matches the filter";
  if (link !== "live" || gateway === null) return "not connected";
  return screens[screen].empty;
}

/** The whole console. */
export function App({ feed }: { readonly feed: Feed }) {
  const view = useSyncExternalStore(feed.subscribe, feed.view);
  const [state, dispatch] = useReducer(act, begin);
  const { exit, suspendTerminal } = useApp();
  const { columns: width, rows } = useWindowSize();
  useEffect(() => stoppable(suspendTerminal), [suspendTerminal]);
  useKeys((key) => (key === "<stop>" ? process.kill(process.pid, "SIGTSTP") : dispatch({ ...view, key })));
  useEffect(() => {
    if (state.quit) exit();
  }, [state.quit, exit]);
  return (
    <Box flexDirection="column" width={width} height={rows} overflow="hidden">
      <Title state={state} view={view} />
      <Banner state={state} view={view} width={width} />
      <Body state={state} view={view} feed={feed} width={width} height={Math.max(2, rows - 3)} />
      <Text dimColor wrap="truncate">
        {keysOf(state)}
      </Text>
    </Box>
  );
}
