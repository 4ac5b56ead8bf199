import path from "node:path";
import { namedConfig } from "../../config/paths.ts";
import { nearName } from "../../config/problem.ts";
import { command } from "../command.ts";

export const init = command({
  summary: "Write a commented gateway.yaml and its JSON Schema",
  args: {
    demo: {
      type: "boolean",
      description: "write a demo with a calculator and, if npx is installed, the official example server",
    },
    force: { type: "boolean", description: "replace an existing file" },
  },
  async run({ demo, force }, { globals, out }) {
    const { initConfig } = await import("../../config/init.ts");
    const npx = Bun.which("npx") !== null;
    const named = namedConfig({ env: process.env, cwd: process.cwd() }, globals.config);
    const file = named?.path ?? path.resolve("gateway.yaml");
    const written = initConfig({ file, force, demo: demo ? { npx } : null });
    if (out.json) return out.document(written);
    await out.print(`wrote ${written.file}`);
    if (demo && !npx) out.say("npx is not installed, so the demo has only the calculator");
    const state = globals.state === undefined ? "" : ` --state ${globals.state}`;
    const where = `--config ${nearName(written.file, process.cwd())}${state}`;
    out.say(`next: mcpgw daemon ${where}`);
    out.say(`then, to get a key: mcpgw keys create NAME CONSUMER ${demo ? "demo" : "reader"} ${where}`);
    if (process.getuid?.() === 0)
      out.say("run it as a user other than root who may read that file: server programs run as the same user");
  },
});
