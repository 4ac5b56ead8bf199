import { maxAnswerItems } from "../../control/filters.ts";
import type { Reasons, ServerTool } from "../../control/schemas.ts";
import type { ServerStatus } from "../../core/upstream.ts";
import type { Input } from "../../control/api.ts";
import type { Cli } from "../cli.ts";
import { command, group } from "../command.ts";
import { keepFollowing, missed } from "../keep-following.ts";
import { exit, Failed } from "../errors.ts";
import { type Cell, type Color, type Output, right, toneColors, untilReaderLeaves, whole } from "../output.ts";
import { line, number } from "../../control/format.ts";
import { downUntil, helpFor, servedBy, serverFacts, stateTones } from "../../control/present.ts";
import { wholeNumber } from "../when.ts";
import { setEnabled } from "../server-switch.ts";
import { toolRows } from "./tools.ts";

const stateColor = ({ state }: ServerStatus): Color => toneColors[stateTones[state]];

/** Prints one row per server. */
export async function serverTable(out: Output, servers: readonly ServerStatus[]): Promise<void> {
  const rows = servers.map((server): Cell[] => [
    whole(server.id),
    { text: server.state, color: stateColor(server) },
    server.transport,
    server.revision ?? "-",
    right(String(server.tools)),
    right(String(server.inFlight)),
    right(String(server.restarts)),
    whole(server.reason ?? ""),
  ]);
  await out.table(["SERVER", "STATE", "TRANSPORT", "PROTOCOL", "TOOLS", "NOW", "RESTARTS", "REASON"], rows);
}

const id = { id: { type: "positional", required: true, description: "the server's id" } } as const;

const list = command({
  summary: "List the managed MCP servers and their state",
  args: {},
  async run(_args, { out, open }) {
    const client = await open();
    const answer = await client.call("servers.list", {});
    if (out.json) return out.document(answer);
    await serverTable(out, answer.servers);
  },
});

const reasonRows = (things: Reasons): Cell[][] =>
  things.map(({ kind, name, reason }) => [kind, name, whole(reason, "yellow")]);

/** Returns rows for schema patterns that cannot be matched in bounded time. */
const uncheckedRows = (tools: readonly ServerTool[]): Cell[][] =>
  tools.flatMap(({ name, unchecked }) => unchecked.map((text): Cell[] => [name, whole(text, "yellow")]));

const downRows = (down: ServerStatus["down"]): Cell[][] =>
  down.map((one) => [whole(servedBy(one)), whole(downUntil(one)), whole(one.reason, "red")]);

const show = command({
  summary: "Show one server, its tools, and what else it offers",
  args: id,
  async run(args, { out, open }) {
    const client = await open();
    const answer = await client.call("servers.show", { id: args.id });
    if (out.json) return out.document(answer);
    const { server, tools, others, leftOut } = answer;
    const facts = [
      ...serverFacts(server),
      ["prompts", String(others.prompts)] as const,
      ["resources", `${others.resources}, templates ${others.templates}`] as const,
    ];
    await out.facts(
      facts.map(([name, value]) => [name, name === "state" ? { text: value, color: stateColor(server) } : value]),
    );
    const unchecked = uncheckedRows(tools);
    if (server.down.length > 0) await out.section(["DOWN", "UNTIL", "REASON"], downRows(server.down));
    if (tools.length > 0) await out.section(["TOOL", "WIRE NAME", "DESCRIPTION"], toolRows(tools));
    if (unchecked.length > 0) await out.section(["TOOL", "PATTERN THAT IS NOT CHECKED"], unchecked);
    if (others.hidden.length > 0) await out.section(["HIDDEN", "NAME", "REASON"], reasonRows(others.hidden));
    if (leftOut.first.length > 0)
      await out.section(["PARTLY OFFERED", "NAME", "WHAT CLIENTS COULD NOT READ"], reasonRows(leftOut.first));
    if (leftOut.more > 0) out.say(`others partly offered: ${number(leftOut.more)}; the daemon's log lists them`);
    const help = helpFor(server);
    if (help !== null) out.say(help);
  },
});

const restart = command({
  summary: "Stop a server's processes or sessions and start it again",
  args: id,
  async run(args, { out, open }) {
    const client = await open();
    out.say(`waiting until ${args.id} is ready or has failed`);
    const answer = await client.call("servers.restart", { id: args.id });
    const { state, reason } = answer.server;
    if (out.json) await untilReaderLeaves(out.document(answer));
    else await untilReaderLeaves(serverTable(out, [answer.server]));
    if (state === "ready" || state === "starting" || state === "idle") return;
    throw new Failed(exit.failed, `${args.id} could not be started: ${reason ?? state}`);
  },
});

async function follow(cli: Pick<Cli, "out" | "open">, { id, lines }: Input<"servers.follow">): Promise<void> {
  const { out } = cli;
  let from = lines;
  let last: string | null = null;
  await keepFollowing(cli, async (client) => {
    // A restarted daemon has none of the lines printed so far, but the same daemon may still have them.
    let printed =
      last === null
        ? 0
        : (await client.call("servers.logs", { id, lines: maxAnswerItems })).lines.lastIndexOf(last) + 1;
    const stream = client.stream("servers.follow", { id, lines: from });
    from = maxAnswerItems;
    for await (const value of stream) {
      if (printed > 0 && "line" in value) {
        printed = value.line === last ? 0 : printed - 1;
        continue;
      }
      if ("line" in value) last = value.line;
      if (out.json) await out.object(value);
      else if ("gap" in value) out.say(missed(value.gap, "lines"), "yellow");
      else await out.print(line(value.line));
    }
  });
}

const logs = command({
  summary: "Show what a server wrote to its standard error",
  args: {
    ...id,
    lines: { type: "string", valueHint: "N", description: "number of lines; default 200" },
    follow: { type: "boolean", alias: "f", description: "keep printing new lines as they are written" },
  },
  async run(args, { out, open }) {
    const lines = wholeNumber("--lines", args.lines, 1, maxAnswerItems);
    if (args.follow) return follow({ out, open }, { id: args.id, lines });
    const client = await open();
    const answer = await client.call("servers.logs", { id: args.id, lines });
    if (out.json) return out.document(answer);
    if (answer.lines.length === 0) out.say(`${args.id} has written nothing to its standard error`);
    for (const text of answer.lines) await out.print(line(text));
  },
});

const switching = (name: "enable" | "disable", summary: string) =>
  command({
    summary,
    args: id,
    async run(args, cli) {
      const done = await setEnabled(cli, args.id, name === "enable");
      if (cli.out.json) return cli.out.document(done);
      await cli.out.print(line(`${args.id} is ${name}d in ${done.file}`));
      cli.out.say(done.reloaded ? "the daemon has loaded it" : "no daemon is running; it takes effect when one starts");
    },
  });

export const servers = group("Show and manage the MCP servers", {
  list,
  show,
  restart,
  logs,
  enable: switching("enable", "Enable a server in the configuration file and reload the file"),
  disable: switching("disable", "Disable a server in the configuration file and reload the file"),
});
