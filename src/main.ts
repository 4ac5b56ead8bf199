import { version } from "../package.json";
import type { Deps } from "./cli/cli.ts";
import type { Group } from "./cli/command.ts";
import { selfCommand, type Self } from "./core/self.ts";

const self: Self = {
  command: (...args) => selfCommand(Bun.main, ...args),
  // Resolved here because only a path relative to the entry file is also right inside the executable.
  housekeeper: new URL("./daemon/housekeeper.ts", import.meta.url),
  version,
};

const program: Group = {
  summary: "The gateway between AI agents and their MCP servers",
  commands: {
    init: async () => (await import("./cli/commands/init.ts")).init,
    daemon: async () => (await import("./cli/commands/daemon.ts")).daemon,
    serve: async () => (await import("./cli/commands/serve.ts")).serve,
    status: async () => (await import("./cli/commands/status.ts")).status,
    tail: async () => (await import("./cli/commands/tail.ts")).tail,
    tui: async () => (await import("./cli/commands/tui.ts")).tui,
    keys: async () => (await import("./cli/commands/keys.ts")).keys,
    servers: async () => (await import("./cli/commands/servers.ts")).servers,
    tools: async () => (await import("./cli/commands/tools.ts")).tools,
    why: async () => (await import("./cli/commands/why.ts")).why,
    audit: async () => (await import("./cli/commands/audit.ts")).audit,
    usage: async () => (await import("./cli/commands/usage.ts")).usage,
    config: async () => (await import("./cli/commands/config.ts")).config,
    builtin: async () => (await import("./cli/commands/builtin.ts")).builtin,
  },
};

const deps: Deps = {
  async daemon(opts) {
    // This may replace the process: anything loaded before would be loaded twice.
    (await import("./daemon/process.ts")).prepareProcess(self);
    return (await import("./daemon/daemon-command.ts")).runDaemon(opts, self);
  },
  serve: async (opts) => (await import("./daemon/serve-command.ts")).runServe(opts, self),
  offline: async (opts) => (await import("./daemon/offline-client.ts")).openOffline(opts, self),
  verifyFile: async (file, against) => (await import("./daemon/verify-file.ts")).verifyFile(file, against),
  async builtin(name) {
    const { builtins } = await import("./builtin/index.ts");
    await builtins[name](version);
  },
  console: async (open) => (await import("./tui/run.tsx")).runConsole(open),
  reaper: async (run) => (await import("./upstream/process/reaper.ts")).runReaper(run, Bun.stdin.stream()),
  load: async (file, flags) => (await import("./daemon/installation.ts")).loadAt(file, flags),
  resolving: async (directory) => (await import("./daemon/loading.ts")).loadingFrom(directory, process.env).resolve,
};

const { enter } = await import("./cli/entry.ts");
process.exitCode = await enter(program, process.argv.slice(2), deps, version);
