import { chownSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import type { Self } from "../../src/core/self.ts";
import { mcpgw } from "./mcpgw.ts";
import { asNobody, ended, isRoot, type Ran } from "./processes.ts";
import { linesOf, Seen } from "./seen.ts";
import { TempDir } from "./temp-dir.ts";
import {
  type Answer,
  answerOf,
  type AuditRecord,
  initialize,
  send,
  type Sending,
  sessionOf,
  toolCall,
  v2025,
} from "./wire.ts";

const fakemcp = join(import.meta.dir, "../fixtures/fakemcp.ts");

type Env = Readonly<Record<string, string>>;

/** Options of a server that runs fakemcp; `place.heard(id)` reads its log. */
export const fake = (id: string, args: readonly string[] = [], more: Readonly<Record<string, unknown>> = {}) => ({
  id,
  command: process.execPath,
  args: [fakemcp, ...args],
  ...more,
  env: { FAKE_LOG: `${id}.log`, ...(more["env"] as Env | undefined) },
});

/** A policy that allows a role everything on every server except the gateway's own. */
export const everything = (role = "user") => ({ id: `${role}-all`, roles: [role], rules: [{ action: "allow" }] });

/** Starts a daemon on any free port. */
export const daemonCommand = ["daemon", "--listen", "127.0.0.1:0"];

/** Authentication options with which `mcpgw serve` needs no key. */
export const servesParent = { stdio: { consumerId: "parent", roles: ["user"] } };

/** What the entry file passes to a daemon in the process of a test. */
export const self: Self = {
  command: (...args) => [...mcpgw, ...args],
  housekeeper: new URL("../../src/daemon/housekeeper.ts", import.meta.url),
  version: "0",
};

/** Returns a key that is acceptable in a configuration: long and random. */
export const strongKey = (): string => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");

/** An installation in its own temporary directory: configuration, state, socket and heads. */
export class Place extends TempDir {
  readonly config = this.path("gateway.yaml");
  readonly state: string;
  /** Prepended to each command of the program, e.g. to run it as another user. */
  prefix: readonly string[] = [];

  /** JSON is valid YAML, so tests write their configuration as an object. */
  constructor(config: unknown, { state }: { state?: string } = {}) {
    super();
    this.state = state ?? this.path("state");
    this.configure(config);
  }

  configure(config: unknown): void {
    writeFileSync(this.config, typeof config === "string" ? config : JSON.stringify(config, null, 1), { mode: 0o600 });
  }

  /** If run as root, gives the configuration to user nobody and runs the following commands as nobody. */
  becomeNobody(): void {
    if (!isRoot) return;
    for (const path of [this.dir, this.config]) chownSync(path, 65534, 65534);
    this.prefix = asNobody;
  }

  /** Returns the environment of this installation's processes; of the machine's environment it has only PATH. */
  env(extra: Env = {}): Record<string, string> {
    return {
      PATH: process.env["PATH"] ?? "",
      LANG: "C.UTF-8",
      HOME: this.dir,
      TMPDIR: tmpdir(),
      // The heads are in the second directory; the first is the default state directory, which --state replaces.
      STATE_DIRECTORY: `${this.path("unused")}:${this.heads}`,
      // The settings with which the daemon would otherwise restart itself, and where Bun keeps compiled code.
      BUN_CONFIG_MAX_HTTP_REQUESTS: "16384",
      UV_THREADPOOL_SIZE: "256",
      BUN_JSC_thresholdForJITAfterWarmUp: "2000",
      BUN_RUNTIME_TRANSPILER_CACHE_PATH: join(homedir(), ".bun/install/cache/@t@"),
      ...extra,
    };
  }

  get heads(): string {
    return this.path("mcpgw-heads");
  }

  flags(): string[] {
    return ["--config", this.config, "--state", this.state];
  }

  /** Starts a command and leaves it running. */
  spawn(args: readonly string[], env: Env = {}) {
    return Bun.spawn([...this.prefix, ...mcpgw, ...args, ...this.flags()], {
      cwd: this.dir,
      env: this.env(env),
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
  }

  /** Runs one command to its end. */
  async cli(args: readonly string[], { env = {}, stdin = "" }: { env?: Env; stdin?: string } = {}): Promise<Ran> {
    const child = this.spawn(args, env);
    void child.stdin.write(stdin);
    void child.stdin.end();
    return ended(child);
  }

  /** Runs a command with only these arguments: no configuration and no state. */
  bare(args: readonly string[], cwd = this.dir): Promise<Ran> {
    const options = { cwd, env: this.env(), stdin: "ignore", stdout: "pipe", stderr: "pipe" } as const;
    return ended(Bun.spawn([...this.prefix, ...mcpgw, ...args], options));
  }

  /** Returns the document that a command prints with --json; throws if it fails. */
  async json(...args: string[]): Promise<unknown> {
    const ran = await this.cli([...args, "--json"]);
    if (ran.code !== 0) throw new Error(`${args.join(" ")}: exit ${ran.code}: ${ran.stderr}`);
    return JSON.parse(ran.stdout);
  }

  /** Returns the warnings of status. */
  async warnings(): Promise<readonly string[]> {
    return ((await this.json("status")) as { warnings: string[] }).warnings;
  }

  /** Creates a key through the command line and returns it. */
  async key(consumer: string, ...roles: string[]): Promise<string> {
    return (await this.newKey(consumer, ...roles)).key;
  }

  async newKey(consumer: string, ...roles: string[]): Promise<{ id: string; key: string }> {
    const given = roles.length > 0 ? roles : ["user"];
    const made = await this.json("keys", "create", `${consumer} key`, consumer, given.join(","));
    return made as { id: string; key: string }; // the golden tests of the command line check its shape
  }

  /** Returns every record on stable storage. */
  async records(): Promise<AuditRecord[]> {
    const ran = await this.cli(["audit", "export", "--jsonl"]);
    if (ran.code !== 0) throw new Error(`audit export: ${ran.stderr}`);
    return ran.stdout
      .split("\n")
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as { rec: AuditRecord }).rec);
  }

  /** Returns the messages that a fake server received. */
  heard(id: string): { pid: number; id?: unknown; method: string; params?: Record<string, unknown> }[] {
    const file = this.path(`${id}.log`);
    const text = existsSync(file) ? readFileSync(file, "utf8") : "";
    // Text after the last line end is still being written.
    return text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as ReturnType<Place["heard"]>[number]);
  }

  /** Returns the tool names of the calls that a fake server received. */
  calls(id: string): string[] {
    return this.heard(id)
      .filter(({ method }) => method === "tools/call")
      .map(({ params }) => String(params?.["name"]));
  }

  /** Returns the mark in the environment of the children of a chain's newest run. */
  run(chain = "main"): string {
    return `MCPGW_RUN=${readFileSync(join(this.state, `${chain}.run`), "utf8").split("\n")[0]}`;
  }

  async start({ env = {}, args = [] }: { env?: Env; args?: readonly string[] } = {}): Promise<Daemon> {
    const child = this.spawn([...daemonCommand, ...args], env);
    void child.stdin.end();
    const daemon = new Daemon(this, child);
    await daemon.ready;
    return daemon;
  }
}

/** Starts a daemon in its own place, which is removed with it. */
export async function start(config: unknown, options: { env?: Env } = {}): Promise<Daemon> {
  const place = new Place(config);
  try {
    return Object.assign(await place.start(options), { owned: true });
  } catch (error) {
    place[Symbol.dispose]();
    throw error;
  }
}

type LogLine = { msg: string } & Record<string, unknown>;

/** A running daemon; disposing it stops it. */
export class Daemon implements AsyncDisposable {
  readonly place: Place;
  readonly child: ReturnType<Place["spawn"]>;
  readonly ready: Promise<void>;
  owned = false;
  url = "";
  readonly #log = new Seen<LogLine>();

  constructor(place: Place, child: ReturnType<Place["spawn"]>) {
    this.place = place;
    this.child = child;
    const read = this.#read(child.stderr);
    void this.#read(child.stdout);
    this.ready = Promise.race([
      this.logged((line) => line.msg === "ready").then((line) => void (this.url = String(line["listen"]))),
      child.exited.then(async (code) => {
        await read;
        throw new Error(`the daemon exited with ${code}:\n${this.log.map((line) => JSON.stringify(line)).join("\n")}`);
      }),
    ]);
    this.ready.catch(() => {});
  }

  get log(): readonly LogLine[] {
    return this.#log.all;
  }

  get pid(): number {
    return this.child.pid;
  }

  get exited(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Resolves to the first log line, past or future, for which `test` returns true. */
  logged(test: (line: LogLine) => boolean): Promise<LogLine> {
    return this.#log.first(test);
  }

  /** Sends a message and returns the response unread. */
  send(body: unknown, sending: Sending = {}): Promise<Response> {
    return send(this.url, body, sending);
  }

  async post(body: unknown, sending: Sending = {}): Promise<Answer> {
    return answerOf(await this.send(body, sending));
  }

  /** Sends a tools/call of 2025-11-25 without a session. */
  call(name: string, args: unknown, key: string, id: unknown = 1): Promise<Answer> {
    return this.post(toolCall(name, args, id), { key, headers: v2025 });
  }

  /** Opens a legacy session; returns the headers for every further request. */
  async session(
    key: string,
    revision = "2025-11-25",
    { capabilities, path = "/mcp" }: { capabilities?: Readonly<Record<string, unknown>>; path?: string } = {},
  ): Promise<Record<string, string>> {
    return sessionOf(await this.post(initialize(revision, 0, capabilities), { key, path }), revision);
  }

  /** Opens the GET stream of a session. */
  stream(key: string, session: Record<string, string>): Promise<Response> {
    const headers = { ...session, authorization: `Bearer ${key}`, accept: "text/event-stream" };
    return fetch(`${this.url}/mcp`, { headers });
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return fetch(`${this.url}${path}`, { headers }).then(answerOf);
  }

  /** Signals the daemon to stop unless it has exited; resolves to its exit code. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    // A daemon that a test has stopped with SIGSTOP handles a signal only after SIGCONT.
    if (!this.exited) for (const one of [signal, "SIGCONT"] as const) this.child.kill(one);
    return this.child.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    if (this.owned) this.place[Symbol.dispose]();
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    for await (const line of linesOf(stream)) this.#log.push(logLine(line));
  }
}

function logLine(text: string): LogLine {
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return { msg: text };
  }
}
