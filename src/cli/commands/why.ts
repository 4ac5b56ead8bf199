import type { Answer } from "../../control/api.ts";
import { namedKinds } from "../../control/filters.ts";
import { line } from "../../control/format.ts";
import { parseObject } from "../../core/json.ts";
import { command } from "../command.ts";
import { exit, UsageError } from "../errors.ts";
import { type Cell, type Output, untilReaderLeaves, whole } from "../output.ts";

type Why = Answer<"why">;
type Caller = Why["callers"][number];

function argumentsOf(text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  const value = parseObject(text);
  if (value) return value;
  throw new UsageError("--args: expected one JSON object");
}

const lists = ({ listed, elsewhere }: Caller): Cell =>
  listed ? { text: "listed", color: "green" } : { text: elsewhere ? "depends" : "hidden", color: "yellow" };

function use({ allowed, listed, elsewhere, remedy }: Caller): Cell {
  if (allowed) return whole("may use it", "green");
  // Even from a source for which it is listed, a call with these arguments may be refused; then there is a remedy.
  const depends = elsewhere && (listed || remedy === null);
  return depends ? whole("depends on where the call comes from", "yellow") : whole("may not use it", "red");
}

/** Returns the row of one caller: whether it may call, and why. An item that is not `offered` is in nobody's lists. */
function row(caller: Caller, offered: boolean): Cell[] {
  const { id, consumer, roles, refused, rule, reason } = caller;
  const decided = `${rule === null ? "" : `rule ${rule}: `}${reason}`;
  return [
    whole(id),
    whole(consumer),
    roles.join(","),
    offered ? lists(caller) : "-",
    use(caller),
    whole(refused ?? decided),
  ];
}

async function show({ kind, name, wire, missing, down, toolsets, callers }: Why, out: Output): Promise<void> {
  await out.facts([
    [kind ?? "name", name],
    ["wire name", wire ?? "-"],
    ...(missing === null ? [] : [["not offered", { text: missing, color: "yellow" }] as const]),
    ...(down === null ? [] : [["calls fail", { text: down, color: "red" }] as const]),
    ...toolsets.map(({ id, wire: named, missing: why }): [string, Cell] => [
      `toolset ${id}`,
      named ?? { text: `not offered: ${why}`, color: "yellow" },
    ]),
  ]);
  const rows = callers.map((caller) => row(caller, missing === null));
  await out.section(["CALLER", "CONSUMER", "ROLES", "LISTS", "USE", "BECAUSE"], rows);
  const told = callers.filter(({ remedy }) => remedy !== null);
  if (told.length > 0) await out.print(["", ...told.map(({ id, remedy }) => line(`${id}: ${remedy}`))].join("\n"));
}

/** Returns notes about what the answer could not take into account. */
function unknown({ kind, callers }: Why, withArguments: boolean): string[] {
  const hinges = ({ refused, listed, allowed, remedy }: Caller): boolean =>
    refused === null && !allowed && (listed || remedy !== null);
  return [
    ...(!withArguments && kind !== "resource" && callers.some(hinges)
      ? ["evaluated without arguments; give them with --args"]
      : []),
    ...(callers.some(({ elsewhere }) => elsewhere)
      ? ["conditions test where a call comes from, which is not known here; LISTS or USE depends on it"]
      : []),
  ];
}

export const why = command({
  summary: "Show whether a key or consumer sees something and may call it, and why",
  args: {
    who: { type: "positional", required: true, description: "a key id or a consumer" },
    target: {
      type: "positional",
      required: true,
      description: "SERVER:TOOL, SERVER:PROMPT, a URI or a name in a toolset",
    },
    kind: {
      type: "enum",
      options: [...namedKinds],
      description: "the kind of the target, if the name is ambiguous",
    },
    args: { type: "string", valueHint: "JSON", description: "the arguments of the call; default none" },
  },
  async run({ who, target, kind, args }, { out, open }) {
    const input = { who, target, kind, arguments: argumentsOf(args) };
    const client = await open();
    const answer = await client.call("why", input);
    await untilReaderLeaves(out.json ? out.document(answer) : show(answer, out));
    for (const text of unknown(answer, args !== undefined)) out.say(text);
    return answer.callers.some(({ allowed }) => allowed) ? exit.done : exit.failed;
  },
});
