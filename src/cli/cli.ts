import type { Resolve } from "../config/document.ts";
import type { Loaded } from "../config/load.ts";
import type { Flags } from "../config/paths.ts";
import type { Answer, Input } from "../control/api.ts";
import type { Client } from "../control/contract.ts";
import type { BuiltinName } from "../core/upstream.ts";
import type { Output } from "./output.ts";

export type GlobalOptions = Flags & { readonly json: boolean; readonly color: boolean };

/** Parts that commands need but may not import. The entry file supplies them, and each is loaded when first called. */
export type Deps = {
  /** Runs the daemon until it is asked to stop; resolves to the exit code. */
  daemon(opts: Flags): Promise<number>;
  /** Serves MCP on standard input and output until they close; resolves to the exit code. */
  serve(opts: Flags): Promise<number>;
  /** Returns a client that reads the state directory without a daemon; throws a `Refusal` if there is no directory. */
  offline(opts: Flags): Promise<Client>;
  builtin(name: BuiltinName): Promise<void>;
  /** Waits until the daemon with this run id exits, then ends every process that it started. */
  reaper(run: string): Promise<void>;
  /** Runs the interactive console; resolves to the exit code. */
  console(open: () => Promise<Client>): Promise<number>;
  /** Verifies an exported file against its own hashes and the given checkpoints. */
  verifyFile(file: string, against: Input<"audit.verify">): Promise<Answer<"audit.verify">>;
  /** Loads a file as the daemon would; `starts` also checks files that are read at startup. Throws ConfigError. */
  load(file: string, flags: Flags & { readonly starts?: boolean }): Promise<Loaded>;
  /** Returns the resolver for `${…}` references in a file in this directory. */
  resolving(directory: string): Promise<Resolve>;
};

export type OpenOptions = {
  readonly offline?: boolean;
  readonly local?: boolean;
  readonly patience?: number | undefined;
};

export type Cli = {
  readonly deps: Deps;
  readonly globals: GlobalOptions;
  readonly out: Output;
  /**
   * Connects to the daemon. With `offline`, falls back to the state directory; with `local`, `./gateway.yaml` may name
   * the socket. `patience` bounds the wait for the greeting, in ms. Throws as `connect` does. The last client is closed
   * when the command ends.
   */
  open(options?: OpenOptions): Promise<Client>;
  close(): void;
};
