import { command } from "../command.ts";
import { UsageError } from "../errors.ts";

const names = ["calculator"];

export const builtin = command({
  name: "builtin",
  summary: `Serve a built-in tool server on standard input and output: ${names.join(", ")}`,
  args: { name: { type: "positional", required: true, description: "name of the tool server" } },
  async run({ name }, { deps }) {
    if (!names.includes(name))
      throw new UsageError(`there is no built-in server "${name}"; there is ${names.join(", ")}`);
    await deps.builtin(name);
  },
});
