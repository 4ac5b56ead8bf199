import type { Place } from "./daemon.ts";
import { linesOf, Seen } from "./seen.ts";
import { initialize, pick, request, toolCall } from "./wire.ts";

/** A bare MCP client on the standard streams of `mcpgw serve`. */
export class StdioClient implements AsyncDisposable {
  readonly child: ReturnType<Place["spawn"]>;
  /** Every line received, as text. */
  readonly lines: string[] = [];
  readonly stderr: Promise<string>;
  /** Settles once all its standard output has been read. */
  readonly read: Promise<void>;
  /** While this is pending, the client does not read what is sent to it. */
  hold: Promise<void> | null = null;
  readonly #messages = new Seen<unknown>();
  #id = 0;

  constructor(place: Place, env: Readonly<Record<string, string>> = {}) {
    this.child = place.spawn(["serve"], env);
    this.stderr = this.child.stderr.text();
    this.read = this.#read();
  }

  send(message: unknown): void {
    void this.child.stdin.write(`${typeof message === "string" ? message : JSON.stringify(message)}\n`);
    void this.child.stdin.flush();
  }

  /** Resolves to the first message, past or future, for which `test` returns true. */
  got(test: (message: unknown) => boolean): Promise<unknown> {
    return this.#messages.first(test);
  }

  answer(id: unknown): Promise<unknown> {
    return this.got((message) => pick(message, "id") === id);
  }

  /** Sends a request under its own id and resolves to the answer. */
  ask(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = `ask-${this.#id++}`;
    this.send(request(method, params, id));
    return this.answer(id);
  }

  call(name: string, args: unknown = {}, id: unknown = `call-${this.#id++}`): Promise<unknown> {
    this.send(toolCall(name, args, id));
    return this.answer(id);
  }

  async open(revision?: string): Promise<unknown> {
    this.send(initialize(revision, "open"));
    const answer = await this.answer("open");
    this.send({ jsonrpc: "2.0", method: "notifications/initialized" });
    return answer;
  }

  /** Closes its standard input and resolves to the exit code. */
  async end(): Promise<number> {
    void this.child.stdin.end();
    return this.child.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // If a test failed half-way, something may block it forever.
    const timer = setTimeout(() => this.child.kill("SIGKILL"), 10_000);
    await this.end();
    clearTimeout(timer);
  }

  async #read(): Promise<void> {
    for await (const line of linesOf(this.#chunks())) {
      this.lines.push(line);
      this.#messages.push(JSON.parse(line));
    }
  }

  async *#chunks(): AsyncGenerator<Uint8Array> {
    for await (const chunk of this.child.stdout) {
      yield chunk;
      await this.hold;
    }
  }
}
