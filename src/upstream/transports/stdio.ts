import { existsSync } from "node:fs";
import { Turn } from "../../core/turns.ts";
import { within } from "../../core/wait.ts";
import { LineReader, encodeLine } from "../../mcp/lines.ts";
import { instanceVariable } from "../process/child-env.ts";
import { faults, reasonOf, Shortage } from "../faults.ts";
import type { End, Link, LinkHost } from "../link/link.ts";
import type { Outbox } from "../link/outbox.ts";
import { type Pipe, type PipeEvents, PipeLink } from "../link/pipe-link.ts";
import type { StderrWriter } from "../process/stderr-log.ts";
import { createStdinQueue } from "../process/stdin-queue.ts";
import { dismiss, enroll } from "../process/orphans.ts";
import { endFamily, endOrphans, type Patience } from "../process/tree.ts";

/** A child process. */
export type ChildSpec = {
  /** Program and arguments, without a shell. */
  readonly argv: readonly string[];
  /** The whole environment, including this instance's marker. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string | null;
  readonly stderr: (pid: number) => StderrWriter;
  /** Called once the process exists; `gone` once its whole tree has ended, except survivors of SIGKILL. */
  readonly spawned: (pid: number, argv: readonly string[]) => void;
  readonly gone: (pid: number, survivors: readonly number[]) => void;
  readonly patience: Patience;
};

/** How long to wait for more output of a child that has exited, ms; a grandchild may keep the pipes open forever. */
const lastOutputMs = 100;
/** The maximum number of such waits, because a grandchild may keep writing too. */
const maxWaits = 50;
/** How long a child that has closed its output may keep running, ms: it can no longer answer any request. */
const closedOutputMs = 500;

/** Starts a child and returns the link to it; throws `upstream-down` if it cannot be started. */
export function openStdio(spec: ChildSpec, host: LinkHost): Link {
  return new PipeLink(host, (events) => new ChildPipe(spec, host.server, events));
}

function spawn({ argv, env, cwd }: ChildSpec, server: string) {
  try {
    return Bun.spawn([...argv], {
      env: { ...env },
      ...(cwd !== null && { cwd }),
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      // A session of its own, so that it can be ended as a whole and a terminal's signals do not reach it.
      detached: true,
    });
  } catch (error) {
    const shortage = Shortage.of(server, error);
    if (shortage) throw shortage;
    // The system's error blames the program for it.
    const reason = cwd !== null && !existsSync(cwd) ? `its cwd ${cwd} does not exist` : reasonOf(error);
    throw faults.down(server, `its command cannot be started (${reason})`);
  }
}

class ChildPipe implements Pipe {
  readonly pid: number;
  readonly #spec: ChildSpec;
  readonly #child: ReturnType<typeof spawn>;
  readonly #stdin: Outbox;
  readonly #exit: Promise<void>;
  /** The number of chunks of its output that were read. */
  #read = 0;
  #closed = false;

  constructor(spec: ChildSpec, server: string, events: PipeEvents) {
    this.#spec = spec;
    this.#child = spawn(spec, server);
    this.pid = this.#child.pid;
    spec.spawned(this.pid, spec.argv);
    enroll(this.pid, this.#marker);
    this.#stdin = createStdinQueue(this.#child.stdin);
    // Readers are attached at once, because Bun buffers unread output without bound.
    const log = spec.stderr(this.pid);
    const output = this.#readStdout(events).then(() => {
      void within(this.#child.exited, closedOutputMs, null, () => events.ended("it closed its output"));
    });
    // A child whose output is no longer read would block forever.
    const read = Promise.all([output, drain(this.#child.stderr, log.write)]).catch((error: unknown) =>
      events.ended(`the gateway failed to process its output (${reasonOf(error)})`),
    );
    this.#exit = this.#watchExit(read, log, events);
  }

  write(key: string, text: string): boolean {
    return this.#stdin.write(key, encodeLine(text));
  }

  take(key: string): boolean {
    return this.#stdin.take(key);
  }

  async close({ expected }: End): Promise<void> {
    this.#closed = true;
    const patience = expected ? this.#spec.patience : { ...this.#spec.patience, close: 0 };
    const ask = (): void => void Promise.resolve(this.#child.stdin.end()).catch(() => {});
    const family = { leaders: new Set([this.pid]), marker: this.#marker };
    const survivors = await endFamily(family, { ask, ended: this.#exit }, patience);
    // Bun must reap the child before the search for orphans does.
    if (survivors.length === 0) await this.#child.exited;
    const orphans = await endOrphans(dismiss(this.pid));
    this.#spec.gone(this.pid, [...survivors, ...orphans]);
  }

  /** The environment entry that identifies the child's descendants. */
  get #marker(): string {
    return `${instanceVariable}=${this.#spec.env[instanceVariable]}`;
  }

  async #readStdout(events: PipeEvents): Promise<void> {
    const lines = new LineReader({
      max: () => events.longest(),
      onLine: events.received,
      onOverflow: () => events.ended(`it wrote a line of more than ${events.longest()} bytes (limits.result)`),
    });
    await drain(this.#child.stdout, (chunk) => {
      this.#read++;
      if (!this.#closed) lines.push(chunk);
    });
  }

  /** Waits for the rest of the output as long as some arrives: a long rest is read in turns with other sources. */
  async #lastWords(read: Promise<unknown>): Promise<void> {
    let over = false;
    const all = read.then(() => (over = true));
    for (let waits = 0, before = -1; waits < maxWaits && !over && this.#read > before; waits++) {
      before = this.#read;
      await within(all, lastOutputMs, null, () => {});
    }
  }

  async #watchExit(read: Promise<unknown>, log: StderrWriter, { ended }: PipeEvents): Promise<void> {
    const child = this.#child;
    await child.exited;
    await this.#lastWords(read);
    log.end();
    ended(exitReason(child));
  }
}

function exitReason({ exitCode, signalCode }: ReturnType<typeof spawn>): string {
  return signalCode === null ? `its process exited with code ${exitCode}` : `its process was ended by ${signalCode}`;
}

async function drain(stream: ReadableStream<Uint8Array>, take: (chunk: Uint8Array) => void): Promise<void> {
  const turn = new Turn();
  const reader = stream.getReader();
  for (;;) {
    // A broken pipe counts as ended.
    const chunk = await reader.read().catch(() => null);
    if (!chunk?.value) return;
    await turn.feed(chunk.value, take);
  }
}
