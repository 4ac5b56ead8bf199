import { createLineReader, encodeLine } from "../mcp/lines.ts";
import { notificationText, requestText } from "../mcp/outbound.ts";
import { instanceVariable } from "./child-env.ts";
import { type Inbox, receive, watch } from "./exchange.ts";
import { faults, reasonOf } from "./faults.ts";
import type { Answer, Ask, End, Link, LinkHost } from "./link.ts";
import { createStdinQueue, type StdinQueue } from "./stdin-queue.ts";
import { endFamily, type Patience } from "./tree.ts";

/** A child process to talk to. */
export type ChildSpec = {
  /** Program and arguments; never goes through a shell. */
  readonly argv: readonly string[];
  /** The whole environment, with this instance's marker in it. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string | null;
  readonly stderr: (pid: number) => (chunk: Uint8Array) => void;
  /** Called as soon as the process exists, and again once its whole tree is gone. */
  readonly spawned: (pid: number) => void;
  readonly gone: (pid: number, survivors: readonly number[]) => void;
  readonly patience: Patience;
};

/** Bytes that may wait for a child that does not read. */
const queueCap = 8 * 1024 ** 2;
/** A line may be this much longer than a result: the message around it. */
const envelope = 64 * 1024;
const shortestLineCap = 16 * 1024 ** 2;
/** Messages that belong to nothing, per minute, before the child is taken for broken. */
const mostStrays = 10_000;
/** How long the answers that an ended child left in its pipe are waited for; a grandchild may hold it for ever. */
const lastWordsMs = 100;

type Waiting = {
  readonly ask: Ask;
  readonly settle: (result: Answer | Error) => void;
};

/** Starts a child and returns the way to it; throws `upstream-down` when it cannot be started. */
export function openStdio(spec: ChildSpec, host: LinkHost): Link {
  return new StdioLink(spec, host);
}

function spawn({ argv, env, cwd }: ChildSpec, server: string) {
  try {
    return Bun.spawn([...argv], {
      env: { ...env },
      ...(cwd !== null && { cwd }),
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      // A session of its own: it is ended as a whole, and a terminal's signals do not reach it.
      detached: true,
    });
  } catch (error) {
    throw faults.down(server, `its command cannot be started (${reasonOf(error)})`);
  }
}

class StdioLink implements Link {
  readonly pid: number;
  readonly ended: Promise<End>;
  readonly #host: LinkHost;
  readonly #spec: ChildSpec;
  readonly #child: ReturnType<typeof spawn>;
  readonly #stdin: StdinQueue;
  readonly #inbox: Inbox;
  readonly #waiting = new Map<string, Waiting>();
  readonly #end: (end: End) => void;
  readonly #gone: Promise<void>;
  #last = 0;
  #strays = 0;
  #straysSince = 0;
  #over: End | null = null;

  constructor(spec: ChildSpec, host: LinkHost) {
    this.#spec = spec;
    this.#host = host;
    this.#child = spawn(spec, host.server);
    this.pid = this.#child.pid;
    spec.spawned(this.pid);
    this.#stdin = createStdinQueue(this.#child.stdin, queueCap);
    const ended = Promise.withResolvers<End>();
    this.ended = ended.promise;
    this.#end = ended.resolve;
    this.#inbox = this.#createInbox();
    // Readers are attached at once: what nobody reads, Bun buffers without bound.
    const read = this.#readStdout();
    void drain(this.#child.stderr, spec.stderr(this.pid));
    this.#gone = this.#watchExit(read);
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  ask(ask: Ask): Promise<Answer> {
    if (this.#over) throw faults.down(this.#host.server, this.#over.reason);
    if (ask.controller.signal.aborted) throw faults.cancelled();
    const id = ++this.#last;
    const key = String(id);
    if (!this.#stdin.write(key, encodeLine(requestText(id, ask.method, ask.params(id))))) {
      throw faults.overloaded(this.#host.server, "it does not read its input");
    }
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const unwatch = watch(ask, (why) => this.#giveUp(key, why));
    const settle = (result: Answer | Error): void => {
      unwatch();
      this.#waiting.delete(key);
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    this.#waiting.set(key, { ask, settle });
    return promise;
  }

  async tell(method: string, params: string | null): Promise<void> {
    if (!this.#over) this.#stdin.write(`tell-${++this.#last}`, encodeLine(notificationText(method, params)));
  }

  fail(reason: string): void {
    this.#finish({ asked: false, reason });
  }

  close(): Promise<void> {
    this.#finish({ asked: true, reason: "it was stopped" });
    return this.#gone;
  }

  #giveUp(key: string, why: "timeout" | "cancelled"): void {
    const waiting = this.#waiting.get(key);
    if (!waiting) return;
    const { server } = this.#host;
    const unseen = this.#stdin.take(key);
    if (!unseen && waiting.ask.method !== "initialize") {
      const params = JSON.stringify({ requestId: Number(key), reason: why === "timeout" ? "timed out" : "cancelled" });
      void this.tell("notifications/cancelled", params);
    }
    if (why === "cancelled") return waiting.settle(faults.cancelled());
    if (unseen) return waiting.settle(faults.overloaded(server, "it does not read its input"));
    waiting.settle(faults.timeout(server, waiting.ask.timeout));
  }

  #createInbox(): Inbox {
    const host = this.#host;
    return {
      answer: (idText, answer) => {
        const waiting = this.#waiting.get(idText);
        if (!waiting) return this.#stray("an answer to nothing that was asked");
        if (answer.kind === "result" && answer.result.length > host.limits.result) {
          return waiting.settle(faults.tooLarge(host.server, host.limits.result));
        }
        waiting.settle(answer);
      },
      anonymous: () => this.#stray("an error without an id"),
      progress: (token, params) => {
        const progress = this.#waiting.get(String(token))?.ask.progress;
        if (!progress) return this.#stray("progress of nothing in flight");
        progress(params);
      },
      broken: (idText, reason) =>
        this.#waiting.get(idText)?.settle(faults.protocol(host.server, `its answer has ${reason}`)),
      reply: (text) => void this.#stdin.write(`reply-${++this.#last}`, encodeLine(text)),
    };
  }

  /** Counts what belongs to nothing; a child that sends little else is ended before it takes all the CPU. */
  #stray(reason: string): void {
    this.#host.dropped(reason);
    const now = performance.now();
    if (now - this.#straysSince > 60_000) {
      this.#straysSince = now;
      this.#strays = 0;
    }
    if (++this.#strays > mostStrays) this.fail("it floods the gateway with messages that belong to nothing");
  }

  async #readStdout(): Promise<void> {
    const host: LinkHost = { ...this.#host, dropped: (reason) => this.#stray(reason) };
    const max = Math.max(shortestLineCap, host.limits.result) + envelope;
    const lines = createLineReader({
      max,
      onLine: (line) => {
        if (!this.#over) receive(line, host, this.#inbox);
      },
      onOverflow: () => this.fail(`it wrote a line of more than ${max} bytes`),
    });
    await drain(this.#child.stdout, (chunk) => {
      if (!this.#over) lines.push(chunk);
    });
  }

  async #watchExit(read: Promise<void>): Promise<void> {
    const child = this.#child;
    const exit = child.exited.then(async () => {
      await Promise.race([read, Bun.sleep(lastWordsMs)]);
      this.#finish({ asked: false, reason: exitReason(child) });
    });
    await this.ended;
    void Promise.resolve(child.stdin.end()).catch(() => {});
    const marker = `${instanceVariable}=${this.#spec.env[instanceVariable]}`;
    const patience = this.#over?.asked ? this.#spec.patience : { ...this.#spec.patience, close: 0 };
    const survivors = await endFamily({ leaders: new Set([this.pid]), marker }, exit, patience);
    this.#spec.gone(this.pid, survivors);
  }

  #finish(end: End): void {
    if (this.#over) return;
    this.#over = end;
    for (const [key, { settle }] of this.#waiting) {
      const { server } = this.#host;
      settle(this.#stdin.take(key) ? faults.down(server, end.reason) : faults.lost(server, end.reason));
    }
    this.#end(end);
  }
}

function exitReason({ exitCode, signalCode }: ReturnType<typeof spawn>): string {
  return signalCode === null ? `its process exited with code ${exitCode}` : `its process was ended by ${signalCode}`;
}

async function drain(stream: ReadableStream<Uint8Array>, take: (chunk: Uint8Array) => void): Promise<void> {
  try {
    for await (const chunk of stream) take(chunk);
  } catch {
    // A pipe that breaks has ended.
  }
}
