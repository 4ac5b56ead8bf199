import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { givenKey, keylessText } from "../../control/client.ts";
import { Unreachable } from "../../control/refusal.ts";
import type { ToolView } from "../../control/schemas.ts";
import { codeOf, messageOf } from "../../core/error-text.ts";
import { isJson, isObject, objectIn, parseObject } from "../../core/json.ts";
import { cut } from "../../core/text.ts";
import { command, group } from "../command.ts";
import { exit, UsageError } from "../errors.ts";
import { type Cell, type Output, untilReaderLeaves, whole } from "../output.ts";
import { line, paragraph } from "../../control/format.ts";

/** Returns one row per tool; a hidden tool shows the reason instead of its description. */
export function toolRows(tools: readonly ToolView[]): Cell[][] {
  return tools.map(({ name, wire, description, hidden }) => [
    whole(name),
    whole(hidden === null ? wire : "-", "dim"),
    hidden === null ? cut((description ?? "").trim().split("\n")[0] ?? "", 80) : whole(`hidden: ${hidden}`, "yellow"),
  ]);
}

function sayWhoIsCaller(out: Output): void {
  if (givenKey() === null) out.say(keylessText);
}

const list = command({
  summary: "List the tools for the key in MCPGW_API_KEY, or for the local administrator",
  args: { server: { type: "string", valueHint: "ID", description: "only this server" } },
  async run({ server }, { out, open }) {
    const client = await open();
    const answer = await client.call("tools.list", { server });
    if (out.json) return out.document(answer);
    if (answer.tools.length === 0) {
      out.say("this caller may use no tools");
      return sayWhoIsCaller(out);
    }
    await out.table(["TOOL", "WIRE NAME", "DESCRIPTION"], toolRows(answer.tools));
  },
});

/** Returns the JSON text of `KEY=VALUE` words. A value that is JSON stays as written; any other becomes a string. */
function pairs(words: readonly string[]): string {
  const members = words.map((word) => {
    const at = word.indexOf("=");
    if (at < 1) throw new UsageError(`"${word}" is not of the form KEY=VALUE`);
    const value = word.slice(at + 1);
    return `${JSON.stringify(word.slice(0, at))}:${isJson(value) ? value : JSON.stringify(value)}`;
  });
  return `{${members.join(",")}}`;
}

type Given = { args?: string | undefined; file?: string | undefined; words: readonly string[] };

function bytesOf(file: string): Buffer {
  try {
    return readFileSync(file === "-" ? 0 : file);
  } catch (error) {
    const why = codeOf(error) === "ENOENT" ? `file ${file} does not exist` : messageOf(error);
    throw new UsageError(`--args-file: ${why}`);
  }
}

/** Returns the text of a file. Bytes that are not UTF-8 are an error, since they would be sent as different ones. */
function textOf(file: string): string {
  const bytes = bytesOf(file);
  if (!isUtf8(bytes)) throw new UsageError(`${file}: the arguments are not valid UTF-8`);
  return bytes.toString();
}

function argumentsText({ args, file, words }: Given): string {
  if ([args !== undefined, file !== undefined, words.length > 0].filter(Boolean).length > 1)
    throw new UsageError("give the arguments only once: as --args, as --args-file or as KEY=VALUE");
  const text = file === undefined ? (args ?? pairs(words)) : textOf(file);
  if (!parseObject(text))
    throw new UsageError(`${file === undefined ? "--args" : `--args-file ${file}`}: expected one JSON object`);
  return text.trim();
}

/** Prints the texts of a result, and the types of all other parts. */
async function showResult(text: string, out: Output): Promise<void> {
  const { content } = objectIn(text);
  const parts: readonly unknown[] = Array.isArray(content) ? content : [];
  for (const part of parts) await out.print(paragraph(partText(part)));
  if (parts.length === 0) await out.print(line(text));
}

/** Returns the text of a part of a result, or its type. A part with neither is shown as JSON, since servers vary. */
function partText(part: unknown): string {
  const { text, type } = isObject(part) ? part : {};
  if (typeof text === "string") return text;
  return typeof type === "string" ? `[${type}]` : JSON.stringify(part);
}

/** Rethrows an error; a connection that was lost during the call gets advice. */
function lost(error: unknown): never {
  if (!(error instanceof Unreachable)) throw error;
  throw new Unreachable(`${error.message}; the call may have run; check before repeating it`);
}

const call = command({
  summary: "Call a tool with the key in MCPGW_API_KEY or as the local administrator; policy, limits and audit apply",
  args: {
    tool: {
      type: "positional",
      required: true,
      description: "SERVER:TOOL; each VALUE after it is read as JSON, or else as text",
    },
    args: { type: "string", valueHint: "JSON", description: "the arguments, sent exactly as written" },
    "args-file": {
      type: "string",
      valueHint: "FILE",
      description: "a file with the arguments; - means standard input",
    },
  },
  rest: "[KEY=VALUE…]",
  async run({ tool, args, "args-file": file, _ }, { out, open }) {
    const given = argumentsText({ args, file, words: _.slice(1) });
    const client = await open();
    const answer = await client.call("tools.call", { tool, arguments: given }).catch(lost);
    const failed = answer.status === "ok" ? exit.done : exit.failed;
    if (out.json) {
      const { result, ...rest } = answer;
      // The result is inserted as text, so that every digit stays as it was received.
      await untilReaderLeaves(out.printJson(`${JSON.stringify(rest).slice(0, -1)},"result":${result ?? "null"}}`));
      return failed;
    }
    for (const text of answer.error?.message.split("\n") ?? []) out.say(text);
    if (answer.status === "denied") sayWhoIsCaller(out);
    if (answer.result !== null) await untilReaderLeaves(showResult(answer.result, out));
    return failed;
  },
});

export const tools = group("List and call tools", { list, call });
