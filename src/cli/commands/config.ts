import { findConfig, resolvePaths, thisHost } from "../../config/paths.ts";
import type { Loaded } from "../../config/load.ts";
import { orNull } from "../../core/attempt.ts";
import type { Cli } from "../cli.ts";
import { command, group } from "../command.ts";
import { line, paragraph } from "../../control/format.ts";
import { Refusal } from "../../control/refusal.ts";

/** Loads the chosen file and prints its warnings; throws a `ConfigError` that lists everything wrong with it. */
async function load({ globals, deps, out }: Cli, starts = false): Promise<Loaded> {
  const { formatProblem } = await import("../../config/problem.ts");
  const found = findConfig(thisHost(), { flag: globals.config, local: true });
  if (found.path === null) throw new Refusal("invalid", found.why);
  if (found.skipped) out.say(found.skipped);
  const loaded = await deps.load(found.path, { ...globals, starts });
  for (const warning of loaded.warnings) out.warn(formatProblem(warning, process.cwd()));
  return loaded;
}

const check = command({
  summary: "Check the configuration file; exits 2 and lists every error found",
  args: {},
  async run(_args, cli) {
    const { file, warnings } = await load(cli, true);
    if (cli.out.json) return cli.out.document({ file, warnings });
    await cli.out.print(line(`${file} is valid`));
  },
});

const show = command({
  summary: "Show the configuration with its defaults and without secrets",
  args: { running: { type: "boolean", description: "show the daemon's running configuration instead of the file" } },
  async run({ running }, cli) {
    const { out } = cli;
    const { dataYaml, shownData, shownYaml } = await import("../../config/show.ts");
    if (running) {
      const client = await cli.open({ local: true });
      const answer = await client.call("config.show", {});
      out.say(`running configuration, loaded from ${answer.file ?? "no file"}`);
      if (out.json) return out.document(answer.config);
      return out.print(paragraph(dataYaml(answer.config)));
    }
    const loaded = await load(cli);
    const { state, control } = loaded.config;
    // The configuration is also shown if its paths are unusable.
    const paths = orNull(() => resolvePaths(thisHost(), { state, socket: control.socket }));
    const places = paths ? `; state directory ${paths.state}, control socket ${paths.socket}` : "";
    out.say(`read from ${loaded.file}${places}`);
    if (out.json) return out.document(shownData(loaded));
    await out.print(paragraph(shownYaml(loaded)));
  },
});

const schema = command({
  summary: "Print the JSON Schema of the configuration file",
  args: {},
  async run(_args, { out }) {
    const { jsonSchema } = await import("../../config/json-schema.ts");
    await out.document(jsonSchema());
  },
});

const reload = command({
  summary: "Make the daemon load its configuration file again; an invalid file changes nothing",
  args: {},
  async run(_args, { out, open }) {
    const client = await open({ local: true });
    const answer = await client.call("config.reload", {});
    if (out.json) return out.document(answer);
    await out.print(line(answer.changed ? `loaded ${answer.file}` : `loaded ${answer.file}: no changes`));
    for (const warning of answer.warnings) out.warn(warning);
  },
});

export const config = group("Check, show and reload the configuration", { check, show, schema, reload });
