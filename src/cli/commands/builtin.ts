import { builtinNames } from "../../core/upstream.ts";
import { command } from "../command.ts";
import { UsageError } from "../errors.ts";

const names = builtinNames.join(", ");

export const builtin = command({
  summary: `Serve a built-in tool server on standard input and output: ${names}`,
  args: { name: { type: "positional", required: true, description: "name of the tool server" } },
  async run({ name }, { deps }) {
    const known = builtinNames.find((one) => one === name);
    if (!known) throw new UsageError(`"${name}" is not a built-in server; available: ${names}`);
    await deps.builtin(known);
  },
});
