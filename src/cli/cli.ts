import type { Resolve } from "../config/document.ts";
import type { Loaded } from "../config/load.ts";
import type { Flags } from "../config/paths.ts";
import type { Answer, Input } from "../control/api.ts";
import type { Client } from "../control/contract.ts";
import type { BuiltinName } from "../core/upstream.ts";
import type { Output } from "./output.ts";

/** The flags that every command takes. */
export type GlobalOptions = Flags & { readonly json: boolean; readonly color: boolean };

/** The parts that commands need but may not import. The entry file hands them in; each is loaded when called. */
export type Deps = {
  /** Runs the daemon until it is told to stop; resolves to the exit code. */
  daemon(opts: Flags): Promise<number>;
  /** Serves MCP on standard input and output until they close; resolves to the exit code. */
  serve(opts: Flags): Promise<number>;
  /** Answers from the state directory without a daemon; throws a `Refusal` if there is none. */
  offline(opts: Flags): Promise<Client>;
  /** Serves a built-in tool server on standard input and output. */
  builtin(name: BuiltinName): Promise<void>;
  /** Waits for the end of the daemon of a run, then ends every process that the daemon had started. */
  reaper(run: string): Promise<void>;
  /** Runs the interactive console; resolves to the exit code. */
  console(open: () => Promise<Client>): Promise<number>;
  /** Checks an exported file against its hashes and these checkpoints. */
  verifyFile(file: string, against: Input<"audit.verify">): Promise<Answer<"audit.verify">>;
  /**
   * Loads a configuration file as the daemon would; `starts`: with the files that it reads as it starts. Throws
   * ConfigError.
   */
  load(file: string, flags: Flags & { readonly starts?: boolean }): Promise<Loaded>;
  /** What resolves the references in a file of this directory. */
  resolving(directory: string): Promise<Resolve>;
};

export type OpenOptions = {
  readonly offline?: boolean;
  readonly local?: boolean;
  readonly patience?: number | undefined;
};

/** What a running command has at hand. */
export type Cli = {
  readonly deps: Deps;
  readonly globals: GlobalOptions;
  readonly out: Output;
  /**
   * Connects to the daemon; with `offline`, falls back to the state directory, and with `local`, `./gateway.yaml` may
   * say where the daemon is. `patience`, ms, bounds the wait for its greeting. Throws as `connect` does. The last
   * client is closed when the command ends.
   */
  open(options?: OpenOptions): Promise<Client>;
  close(): void;
};
