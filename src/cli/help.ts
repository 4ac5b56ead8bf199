import { renderUsage, type ArgsDef, type CommandDef } from "citty";
import type { Command, Group } from "./command.ts";
import { globalFlags } from "./line.ts";

async function definition(command: Command | Group, name: string): Promise<CommandDef<ArgsDef>> {
  const meta = { name, description: command.summary };
  if (!("commands" in command)) return { meta, args: { ...command.args, ...globalFlags } };
  const subCommands: Record<string, CommandDef<ArgsDef>> = {};
  for (const [word, load] of Object.entries(command.commands)) {
    const { summary } = await load();
    subCommands[word] = { meta: { name: word, description: summary } };
  }
  return { meta, args: globalFlags, subCommands };
}

/** Returns the help of a command or group, without colors. */
export async function helpText(command: Command | Group, path: readonly string[]): Promise<string> {
  const name = ["mcpgw", ...path].join(" ");
  // citty decides about colors without looking at where the text goes.
  const text = Bun.stripANSI(await renderUsage(await definition(command, name)));
  const rest = "rest" in command && command.rest ? text.replace(/^(USAGE .*?) *$/m, `$1 ${command.rest}`) : text;
  return `${leftAligned(rest).replaceAll(/ +$/gm, "").trimEnd()}\n`;
}

// citty right-aligns names, four spaces before their descriptions.
function leftAligned(text: string): string {
  return text.replaceAll(/^ {2}( *)(\S.*?)(?= {4}\S)/gm, "  $2$1");
}
