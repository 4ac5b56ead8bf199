import { type Flags, thisHost } from "../config/paths.ts";
import { findSocket } from "../config/client-socket.ts";
import { attach, type ClientTunnel, givenKey, keylessText } from "../control/client.ts";
import { farewell } from "../control/messages.ts";
import { Refusal, Unreachable } from "../control/refusal.ts";
import { codeOf, messageOf } from "../core/error-text.ts";
import { rpcCodes } from "../core/rpc-code.ts";
import { setNonDumpable } from "../core/libc.ts";
import type { Self } from "../core/self.ts";
import { plain } from "../core/text.ts";
import { within } from "../core/wait.ts";
import { acknowledgedIn, cancelledIn, idsIn, plainId } from "../mcp/message.ts";
import { errorMessage } from "../mcp/reply.ts";
import { maxQueued } from "../serve/queue-limits.ts";
import { serveEmbedded } from "./embedded.ts";
import { LineWriter, maxLine, readLines, sayGivenUp, type Streams } from "./stdio.ts";
import { loadingFrom } from "./loading.ts";
import { endProcess } from "./process.ts";

/** How long to wait for answers after standard input has ended, ms. */
const patience = 2_000;
/** How long a client that cannot be served may take to ask, so that it is told why, ms. */
const partingPatience = 1_000;
/** How long the daemon may take to read what the client said, ms. Meanwhile nobody sees whether the client has gone. */
const takingPatience = 10_000;

const unanswered = (why: string | null): string =>
  `${why ?? "The connection to the daemon ended before it answered."} The call may have run: check before you repeat it.`;

/** `mcpgw serve`: MCP on standard input and output, by the daemon of the state directory or by a gateway inside. */
export async function runServe(flags: Flags, self: Self): Promise<number> {
  const last = { output: new LineWriter(), asked: untilAsked() };
  try {
    return await endProcess(await serve(flags, self, last), last);
  } catch (error) {
    await turnAway(messageOf(error), last);
    throw error;
  }
}

/**
 * Tells the client why it is not served, as the answer to what it asks: many show nothing of standard error, and their
 * users would read no more than that the connection was closed.
 */
async function turnAway(why: string, { output, asked }: Streams): Promise<void> {
  const over = AbortSignal.any([asked, AbortSignal.timeout(partingPatience)]);
  const refuse = (line: string): void => {
    for (const id of idsIn(line, "requests")) output.write(`${errorMessage(id, rpcCodes.internalError, why)}\n`);
  };
  const asking = readLines(maxLine, { onLine: refuse, onOverflow: () => {} }, over);
  await within(asking, null, over, () => {});
  await within(output.drained(), partingPatience, asked, () => {});
}

async function serve(flags: Flags, self: Self, last: Streams): Promise<number> {
  const key = givenKey();
  // Whoever sets it wants to be served by a key, and by nothing else.
  if (key === "") throw new Refusal("denied", "MCPGW_API_KEY is set, but empty: give a key, or unset it");
  const host = thisHost();
  const { socket, doubt } = await findSocket(host, flags, {
    resolving: async (directory) => loadingFrom(directory, host.env).resolve,
  });
  if (doubt !== null) process.stderr.write(`mcpgw: warning: ${plain(doubt)}\n`);
  try {
    const tunnel = await attach(socket, { version: self.version, key }).finally(() => hide(key));
    // Some clients pass only a part of their environment on, and nobody would see why all tools are missing.
    if (key === null) process.stderr.write(`mcpgw: ${keylessText}\n`);
    return await relay(tunnel, last);
  } catch (error) {
    // No socket, or one that nobody listens on since its daemon died; any refusal is final.
    if (!(error instanceof Unreachable)) throw error;
  }
  return serveEmbedded(flags, self, { key, patience, ...last });
}

/**
 * Hides the key from the servers of a daemon, which may run as the same user. Only once the daemon has seen who calls:
 * where `/proc` shows just what one may look into (hidepid), it could not tell.
 */
function hide(key: string | null): void {
  if (key !== null) setNonDumpable();
}

/** Ends the process, which the daemon takes for its client's end: there is nothing to write to. */
function exitWith(error: Error): never {
  const left = codeOf(error) === "EPIPE";
  if (!left) process.stderr.write(`mcpgw: ${error.message}\n`);
  process.exit(left ? 0 : 1);
}

function untilAsked(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(name, () => controller.abort());
  return controller.signal;
}

/** What the daemon owes an answer, by what either side says. */
function createOwed() {
  // The ids as they were written, by what they mean; one for each request, for some clients use an id again and again.
  const waiting = new Map<string, string[]>();
  // The subscriptions among them that are granted: they last until the client wants no more.
  const standing = new Set<string>();
  const settle = (id: string): void => {
    const same = waiting.get(id);
    same?.shift();
    if (same?.length === 0) waiting.delete(id);
    standing.delete(id);
  };
  return {
    ask(line: string): void {
      for (const id of idsIn(line, "requests")) {
        const same = waiting.get(plainId(id));
        if (same) same.push(id);
        else waiting.set(plainId(id), [id]);
      }
      // A request that was cancelled is never answered.
      settle(plainId(cancelledIn(line) ?? ""));
    },
    answer(line: string): void {
      for (const id of idsIn(line, "responses")) settle(plainId(id));
      const subscription = plainId(acknowledgedIn(line) ?? "");
      if (waiting.has(subscription)) standing.add(subscription);
    },
    isDone: (): boolean => waiting.size === standing.size,
    ids: () => [...waiting.values()].flat(),
  };
}

/** Gives up a while after a client has sent everything: what waits for one that reads slowly is no reason for it. */
function giveUpLater(tunnel: ClientTunnel, { output, asked }: Streams): void {
  const giveUp = (): void => {
    if (output.queued === 0 || asked.aborted) tunnel.close();
    else void output.drained().then(() => giveUpLater(tunnel, { output, asked }));
  };
  setTimeout(giveUp, patience);
}

async function relay(tunnel: ClientTunnel, { output, asked }: Streams): Promise<number> {
  output.onFailure(exitWith);
  const owed = createOwed();
  const closed = Promise.withResolvers<string | null>();
  let ended = false;
  let finished = false;
  // What is refused without an id is owed too, and only the daemon knows of it. It is told once: one of an older version
  // answers that with a refusal.
  const finish = (): void => {
    if (finished || !ended || !owed.isDone()) return;
    finished = true;
    tunnel.send(farewell);
  };
  tunnel.onClose((why) => closed.resolve(why));
  tunnel.onLine((line) => {
    output.write(`${line}\n`);
    // What is unread waits at the daemon, which knows what may be dropped.
    if (output.queued > maxQueued) {
      tunnel.pause();
      void output.drained().then(() => tunnel.resume());
    }
    owed.answer(line);
    finish();
  });
  const forward = (line: string) => {
    owed.ask(line);
    tunnel.send(line);
  };
  const end = (why: string): void => {
    closed.resolve(why);
    tunnel.close();
  };
  // What the daemon has not taken yet waits at the client.
  const taken = () =>
    within(tunnel.drained(), takingPatience, asked, (over) => {
      if (over === "late") end("The daemon reads nothing any more.");
    });
  // A line is passed on whole, for a part might pass for all of it; how much it takes, the daemon says.
  const input = readLines(maxLine, { onLine: forward, onOverflow: () => {}, taken }, asked).then((endless) => {
    if (endless !== null) return end(endless);
    ended = true;
    finish();
    giveUpLater(tunnel, { output, asked });
  });
  const why = (await closed.promise) ?? (asked.aborted ? "The gateway is stopping." : null);
  // A client that closed its own end has given up what it still waits for.
  if (!ended || asked.aborted) {
    for (const id of owed.ids()) output.write(`${errorMessage(id, rpcCodes.internalError, unanswered(why))}\n`);
  } else if (!owed.isDone()) sayGivenUp();
  if (!ended) {
    process.stderr.write(`mcpgw: the connection to the daemon ended${why === null ? "" : `: ${why}`}\n`);
    return 1;
  }
  await input;
  return 0;
}
