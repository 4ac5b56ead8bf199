import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** How tests start the program: the compiled binary where `MCPGW_BIN` names one, else the sources. */
export const program: readonly string[] = process.env["MCPGW_BIN"]
  ? [process.env["MCPGW_BIN"]]
  : [process.execPath, join(import.meta.dir, "../../src/main.ts")];

export type Ran = { readonly code: number; readonly stdout: string; readonly stderr: string };
export type Answer = { readonly status: number; readonly headers: Headers; readonly text: string; readonly json: any };

/** An installation of its own in a temporary directory: configuration, state, socket and heads. */
export class Place {
  readonly dir = mkdtempSync(join(tmpdir(), "mcpgw-test-"));
  readonly config = join(this.dir, "gateway.yaml");
  readonly state = join(this.dir, "state");

  /** JSON is YAML, so tests write their configuration as an object. */
  constructor(config: unknown) {
    this.configure(config);
  }

  configure(config: unknown): void {
    writeFileSync(this.config, typeof config === "string" ? config : JSON.stringify(config, null, 1), { mode: 0o600 });
  }

  env(extra: Record<string, string> = {}): Record<string, string> {
    const { PATH = "", LANG = "C.UTF-8" } = process.env;
    return { PATH, LANG, HOME: this.dir, TMPDIR: tmpdir(), XDG_STATE_HOME: join(this.dir, "xdg-state"), ...extra };
  }

  flags(): string[] {
    return ["--config", this.config, "--state", this.state];
  }

  /** Runs one command to its end. */
  async cli(
    args: readonly string[],
    { env = {}, stdin = "" }: { env?: Record<string, string>; stdin?: string } = {},
  ): Promise<Ran> {
    const child = Bun.spawn([...program, ...args, ...this.flags()], {
      cwd: this.dir,
      env: this.env(env),
      stdin: Buffer.from(stdin),
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { code, stdout, stderr };
  }

  /** Makes a key through the command line and returns it. */
  async key(consumer: string, ...roles: string[]): Promise<string> {
    const ran = await this.cli(["keys", "create", `${consumer} key`, consumer, roles.join(","), "--json"]);
    if (ran.code !== 0) throw new Error(`keys create: ${ran.stderr}`);
    return (JSON.parse(ran.stdout) as { key: string }).key;
  }

  async start({ env = {}, args = [] }: { env?: Record<string, string>; args?: string[] } = {}): Promise<Daemon> {
    const command = [...program, "daemon", "--listen", "127.0.0.1:0", ...args, ...this.flags()];
    const child = Bun.spawn(command, {
      cwd: this.dir,
      env: this.env(env),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const daemon = new Daemon(this, child);
    await daemon.ready;
    return daemon;
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

type Child = Bun.Subprocess<"ignore", "pipe", "pipe">;
type LogLine = { msg: string } & Record<string, unknown>;

/** A running daemon. */
export class Daemon implements AsyncDisposable {
  readonly place: Place;
  readonly child: Child;
  readonly log: LogLine[] = [];
  readonly ready: Promise<void>;
  url = "";
  readonly #waiting = new Set<{ test: (line: LogLine) => boolean; resolve: (line: LogLine) => void }>();

  constructor(place: Place, child: Child) {
    this.place = place;
    this.child = child;
    const stderr = this.#read(child.stderr);
    void this.#read(child.stdout);
    this.ready = Promise.race([
      this.logged((line) => line.msg === "ready").then((line) => void (this.url = String(line["listen"]))),
      child.exited.then(async (code) => {
        await stderr;
        throw new Error(`the daemon exited with ${code}:\n${this.log.map((line) => JSON.stringify(line)).join("\n")}`);
      }),
    ]);
    this.ready.catch(() => {});
  }

  /** Resolves with the first log line, past or to come, that passes. */
  logged(test: (line: LogLine) => boolean): Promise<LogLine> {
    const seen = this.log.find(test);
    if (seen) return Promise.resolve(seen);
    return new Promise((resolve) => this.#waiting.add({ test, resolve }));
  }

  async post(
    body: unknown,
    { key, headers = {} }: { key?: string; headers?: Record<string, string> } = {},
  ): Promise<Answer> {
    const response = await fetch(`${this.url}/mcp`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        ...(key ? { authorization: `Bearer ${key}` } : {}),
        ...headers,
      },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
    return answer(response);
  }

  /** A tools/call of the legacy era without a session. */
  call(name: string, args: unknown, key: string, id: unknown = 1): Promise<Answer> {
    return this.post({ jsonrpc: "2.0", id, method: "tools/call", params: { name, arguments: args } }, { key });
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    this.child.kill(signal);
    return this.child.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.stop("SIGTERM");
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of stream) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#line(line);
    }
  }

  #line(text: string): void {
    let line: LogLine;
    try {
      line = JSON.parse(text);
    } catch {
      line = { msg: text };
    }
    this.log.push(line);
    for (const waiting of this.#waiting) {
      if (!waiting.test(line)) continue;
      this.#waiting.delete(waiting);
      waiting.resolve(line);
    }
  }
}

/** A response with its body read; of an event stream, `json` is the last event. */
export async function answer(response: Response): Promise<Answer> {
  const text = await response.text();
  const event = text
    .trimEnd()
    .split("\n")
    .findLast((line) => line.startsWith("data: "));
  const body = response.headers.get("content-type")?.startsWith("text/event-stream")
    ? (event?.slice(6) ?? "null")
    : text;
  let json: unknown = null;
  try {
    json = JSON.parse(body);
  } catch {
    // Not every answer is JSON; `text` has it.
  }
  return { status: response.status, headers: response.headers, text, json };
}
