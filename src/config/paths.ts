import { existsSync, lstatSync, realpathSync, type Stats, statSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { orNull, thrownBy } from "../core/attempt.ts";
import { codeOf } from "../core/error-text.ts";
import { brokenLink } from "../core/files.ts";

/** The facts about the machine and user that the defaults depend on. */
export type Host = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
  readonly home: string;
  readonly cwd: string;
};

const hidden: Record<string, string> = {};

/** Removes variables from the process environment; the configuration can still refer to them. */
export function hideVariables(names: RegExp): void {
  for (const [name, value] of Object.entries(process.env)) {
    if (value === undefined || !names.test(name)) continue;
    hidden[name] = value;
    delete process.env[name];
  }
}

/** Returns the facts about this machine and the user of this process. */
export function thisHost(): Host {
  return { env: { ...process.env, ...hidden }, uid: process.getuid?.() ?? -1, home: ownHome(), cwd: process.cwd() };
}

function ownHome(): string {
  try {
    return homedir();
  } catch {
    throw new Error(`HOME is not set, and uid ${process.getuid?.()} has no home directory; set HOME`);
  }
}

/** The paths in use; all are absolute. */
export type Paths = {
  readonly state: string;
  readonly socket: string;
  /** A directory outside the state directory with a folder per installation for audit heads and default checkpoints. */
  readonly heads: string;
};

/** Paths set by flags, environment or file, after applying their precedence. */
export type Chosen = { readonly state?: string | undefined; readonly socket?: string | undefined };

/** The flags that select the installation and its listen address; absent values come from other sources. */
export type Flags = Chosen & { readonly config?: string | undefined; readonly listen?: string | undefined };

// Linux allows 108 bytes including the final NUL, macOS 104.
const maxSocketPath = 103;

/** The paths of the system installation, which runs as root or as the systemd unit. */
const system = {
  state: "/var/lib/mcpgw",
  heads: "/var/lib/mcpgw-heads",
  socket: "/run/mcpgw/control.sock",
} as const;

// systemd separates several directories of one kind with colons.
function fromSystemd(host: Host, name: string): string[] {
  return (host.env[name] ?? "").split(":").filter((path) => isAbsolute(path));
}

// The XDG specification says to ignore relative values.
function xdg(host: Host, name: string, fallback: string): string {
  const value = host.env[name];
  return value && isAbsolute(value) ? value : join(host.home, fallback);
}

function isSystem(host: Host): boolean {
  return host.uid === 0;
}

function defaultState(host: Host): string {
  const own = isSystem(host) ? system.state : join(xdg(host, "XDG_STATE_HOME", ".local/state"), "mcpgw");
  return fromSystemd(host, "STATE_DIRECTORY")[0] ?? own;
}

function defaultSocket(host: Host, state: string): string {
  const [runtime] = fromSystemd(host, "RUNTIME_DIRECTORY");
  if (runtime) return join(runtime, "control.sock");
  // Not under XDG_RUNTIME_DIR: MCP clients do not pass it to `serve`, which has to find the same daemon.
  return isSystem(host) ? system.socket : join(state, "control.sock");
}

function headsHome(host: Host, state: string): string {
  const given = fromSystemd(host, "STATE_DIRECTORY");
  // A command of the unit's user outside the unit should find the heads that the unit has written.
  if (given.length === 0 && state === system.state && existsSync(system.heads)) return system.heads;
  return given.find((path) => basename(path) === "mcpgw-heads") ?? join(dirname(defaultState(host)), "mcpgw-heads");
}

/** Returns the absolute path of the state directory. */
export const stateDir = (host: Host, { state }: Chosen): string =>
  state ? resolve(host.cwd, state) : defaultState(host);

/**
 * Returns the state directory, control socket and heads directory. A state directory other than the default contains
 * its own socket, so that two installations of one user never share one.
 */
export function resolvePaths(host: Host, chosen: Chosen = {}): Paths {
  const state = stateDir(host, chosen);
  const own = state === defaultState(host) ? defaultSocket(host, state) : join(state, "control.sock");
  const socket = chosen.socket ? resolve(host.cwd, chosen.socket) : own;
  if (Buffer.byteLength(socket) > maxSocketPath) {
    throw new Error(
      `the path of the control socket is longer than ${maxSocketPath} bytes: ${socket}; set control.socket to a shorter one`,
    );
  }
  return { state, socket, heads: headsHome(host, state) };
}

/** Returns the socket for a client: that of its installation, or the system's if only it exists and none was chosen. */
export function clientSocket(host: Host, chosen: Chosen = {}): string {
  const { state, socket } = resolvePaths(host, chosen);
  const free = (!chosen.state || state === system.state) && !chosen.socket && !existsSync(socket);
  return free && existsSync(system.socket) ? system.socket : socket;
}

/**
 * Returns where the system gateway is, as advice for a client that got no answer at a socket (a dead daemon may have
 * left it); null if there is no other gateway.
 */
export function systemDaemonHint(socket: string): string | null {
  try {
    statSync(system.socket);
    return socket === system.socket ? null : `at ${system.socket} (use --socket to name it)`;
  } catch (error) {
    return codeOf(error) === "EACCES" ? `in ${dirname(system.socket)}, which only members of its group can use` : null;
  }
}

/** Returns the state directory and socket by flag, else by environment, else by file. */
export function chosenPaths(host: Host, flags: Chosen, file: Chosen = {}): Chosen {
  return {
    state: flags.state ?? (host.env["MCPGW_STATE"] || undefined) ?? file.state,
    socket: flags.socket ?? (host.env["MCPGW_SOCKET"] || undefined) ?? file.socket,
  };
}

/** The configuration file to use and what named it, or null and the reason why there is none. */
export type FoundConfig = {
  readonly path: string | null;
  readonly why: string;
  /** Whether the file was found at the default place, without being named. */
  readonly byDefault: boolean;
  /** Why a `gateway.yaml` in the current directory was ignored; null if none was. */
  readonly skipped: string | null;
};

export type FindConfig = {
  readonly flag?: string | undefined;
  /** Whether the command may read `./gateway.yaml`: only `daemon` and `config`. */
  readonly local: boolean;
};

/** Returns a note that this command ignores the `gateway.yaml` in the current directory; empty if there is none. */
export const ignoredConfigNote = (cwd: string): string =>
  existsSync(join(cwd, "gateway.yaml"))
    ? "; this command does not read the gateway.yaml in this directory: if the daemon uses it, name it with --config"
    : "";

/** Returns the file that a flag or the environment names, and the name of that source; null if none does. */
export function namedConfig({ env, cwd }: Pick<Host, "env" | "cwd">, flag: string | undefined) {
  const given = [
    ["--config", flag],
    ["MCPGW_CONFIG", env["MCPGW_CONFIG"]],
    ["MCP_GATEWAY_CONFIG", env["MCP_GATEWAY_CONFIG"]],
  ] as const;
  for (const [why, path] of given) {
    if (path) return { path: resolve(cwd, path), why };
  }
  return null;
}

/**
 * Returns the note of `ignoredConfigNote`; empty if a flag or variable names an installation, or if that file is the
 * default configuration, which every command reads.
 */
export function ignoredConfigHint(host: Host, flags: Flags): string {
  const { state, socket } = chosenPaths(host, flags);
  const isNamed = state !== undefined || socket !== undefined || namedConfig(host, flags.config) !== null;
  const [here, usual] = [join(host.cwd, "gateway.yaml"), defaultConfig(host)].map((path) =>
    orNull(() => realpathSync(path)),
  );
  return isNamed || (here !== null && here === usual) ? "" : ignoredConfigNote(host.cwd);
}

/** Finds the file: by flag, environment, a safe `./gateway.yaml` if the command reads that, or at the default place. */
export function findConfig(host: Host, { flag, local }: FindConfig): FoundConfig {
  const named = namedConfig(host, flag);
  if (named) return { ...named, byDefault: false, skipped: null };
  const here = join(host.cwd, "gateway.yaml");
  const entry = local ? orNull(() => lstatSync(here)) : null;
  const skipped = entry && refusal(host, here, entry);
  if (entry && skipped === null) return { path: here, why: "the current directory", byDefault: false, skipped };
  const usual = defaultConfig(host);
  if (!isAbsent(usual)) return { path: usual, why: "the default place", byDefault: true, skipped };
  const places = ["--config", "MCPGW_CONFIG", ...(local ? ["./gateway.yaml"] : []), usual];
  const nowhere = `no configuration found in ${places.join(", ")}; \`mcpgw init\` writes one`;
  return { path: null, why: skipped ?? nowhere, byDefault: false, skipped };
}

/** Reports whether a path is absent. A broken link or denied directory is not, so that reading it gives the reason. */
const isAbsent = (path: string): boolean =>
  ["ENOENT", "ENOTDIR"].includes(codeOf(thrownBy(() => lstatSync(path))) ?? "") && brokenLink(path) === null;

/** Returns the path of the configuration that is used if none is named. */
export function defaultConfig(host: Host): string {
  const [given] = fromSystemd(host, "CONFIGURATION_DIRECTORY");
  const dir = isSystem(host) ? "/etc/mcpgw" : join(xdg(host, "XDG_CONFIG_HOME", ".config"), "mcpgw");
  return join(given ?? dir, "gateway.yaml");
}

// The file decides which commands this user runs, so no other user may have created or changed it.
function refusal(host: Host, path: string, entry: Stats): string | null {
  if (host.uid === 0) return `${path} is not read as root; name it with --config`;
  const target = orNull(() => statSync(path));
  if (entry.uid !== host.uid || (target && target.uid !== host.uid))
    return `${path} belongs to another user; name it with --config to use it`;
  if (target && (target.mode & 0o022) !== 0)
    return `${path} is writable by others; chmod go-w it, or name it with --config`;
  return null;
}
