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
import { LineWriter, maxLine, readLines, reportAbandoned, type Streams } from "./stdio.ts";
import { loadingFrom } from "./loading.ts";
import { endProcess } from "./process.ts";

/** How long to wait for responses after standard input has ended, ms. */
const patience = 2_000;
/** How long to wait for a request of a client that cannot be served, so that it can be told why, ms. */
const rejectTimeout = 1_000;
/** How long the daemon may take to read input, ms. During that time, a client that has gone is not noticed. */
const daemonReadTimeout = 10_000;

const unanswered = (why: string | null): string =>
  `${why ?? "The connection to the daemon ended before it answered."} The call may have run: check before you repeat it.`;

/** Runs `mcpgw serve`: MCP on standard input and output, through the running daemon or an embedded gateway. */
export async function runServe(flags: Flags, self: Self): Promise<number> {
  const last = { output: new LineWriter(), asked: untilStopSignal() };
  try {
    return await endProcess(await serve(flags, self, last), last);
  } catch (error) {
    await turnAway(messageOf(error), last);
    throw error;
  }
}

/**
 * Answers the client's requests with the reason why it is not served. Many clients hide standard error, so their users
 * would only see that the connection was closed.
 */
async function turnAway(why: string, { output, asked }: Streams): Promise<void> {
  const over = AbortSignal.any([asked, AbortSignal.timeout(rejectTimeout)]);
  const refuse = (line: string): void => {
    for (const id of idsIn(line, "requests")) output.write(`${errorMessage(id, rpcCodes.internalError, why)}\n`);
  };
  const asking = readLines(maxLine, { onLine: refuse, onOverflow: () => {} }, over);
  await within(asking, null, over, () => {});
  await within(output.drained(), rejectTimeout, asked, () => {});
}

async function serve(flags: Flags, self: Self, last: Streams): Promise<number> {
  const key = givenKey();
  // A user who sets the variable wants to use a key, so an empty one must not fall back to keyless access.
  if (key === "") throw new Refusal("denied", "MCPGW_API_KEY is set but empty; give a key, or unset it");
  const host = thisHost();
  const { socket, doubt } = await findSocket(host, flags, {
    resolving: async (directory) => loadingFrom(directory, host.env).resolve,
  });
  if (doubt !== null) process.stderr.write(`mcpgw: warning: ${plain(doubt)}\n`);
  try {
    const tunnel = await attach(socket, { version: self.version, key }).finally(() => hide(key));
    // Some clients pass on only part of their environment, and users could not see why all tools are missing.
    if (key === null) process.stderr.write(`mcpgw: ${keylessText}\n`);
    return await relay(tunnel, last);
  } catch (error) {
    // Unreachable means no socket, or one whose daemon died. Any refusal is final.
    if (!(error instanceof Unreachable)) throw error;
  }
  return serveEmbedded(flags, self, { key, patience, ...last });
}

/**
 * Hides the key from the daemon's servers, which may run as the same user. Called only after the daemon has identified
 * this process, because with hidepid `/proc` does not show a non-dumpable process.
 */
function hide(key: string | null): void {
  if (key !== null) setNonDumpable();
}

/** Exits because nothing can be written to the client; the daemon sees that its client is gone. */
function exitWith(error: Error): never {
  const left = codeOf(error) === "EPIPE";
  if (!left) process.stderr.write(`mcpgw: ${error.message}\n`);
  process.exit(left ? 0 : 1);
}

function untilStopSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(name, () => controller.abort());
  return controller.signal;
}

/** Tracks the requests that the daemon has not answered yet, from the lines of both sides. */
function createPendingRequests() {
  // Ids as written, by their plain form; one entry per request, because some clients reuse an id.
  const waiting = new Map<string, string[]>();
  // Granted subscriptions, which last until the client cancels them.
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
      // A cancelled request is never answered.
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

/** Closes the tunnel some time after the client's input has ended, but not while a slow client has output to read. */
function closeLater(tunnel: ClientTunnel, { output, asked }: Streams): void {
  const giveUp = (): void => {
    if (output.queued === 0 || asked.aborted) tunnel.close();
    else void output.drained().then(() => closeLater(tunnel, { output, asked }));
  };
  setTimeout(giveUp, patience);
}

async function relay(tunnel: ClientTunnel, { output, asked }: Streams): Promise<number> {
  output.onFailure(exitWith);
  const owed = createPendingRequests();
  const closed = Promise.withResolvers<string | null>();
  let ended = false;
  let finished = false;
  // The daemon may still owe refusals without an id, which only the daemon can count, so it closes the tunnel. The
  // farewell is sent once, because an older daemon answers it with a refusal.
  const finish = (): void => {
    if (finished || !ended || !owed.isDone()) return;
    finished = true;
    tunnel.send(farewell);
  };
  tunnel.onClose((why) => closed.resolve(why));
  tunnel.onLine((line) => {
    output.write(`${line}\n`);
    // Unread output queues in the daemon, which knows what may be dropped.
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
  // Input that the daemon has not read yet stays with the client.
  const taken = () =>
    within(tunnel.drained(), daemonReadTimeout, asked, (over) => {
      if (over === "late") end("The daemon has stopped reading.");
    });
  // A line is passed on whole, since a part could be mistaken for a whole message. The daemon enforces its own limit.
  const input = readLines(maxLine, { onLine: forward, onOverflow: () => {}, taken }, asked).then((endless) => {
    if (endless !== null) return end(endless);
    ended = true;
    finish();
    closeLater(tunnel, { output, asked });
  });
  const why = (await closed.promise) ?? (asked.aborted ? "The gateway is stopping." : null);
  // A client that closed its own end no longer waits for responses.
  if (!ended || asked.aborted) {
    for (const id of owed.ids()) output.write(`${errorMessage(id, rpcCodes.internalError, unanswered(why))}\n`);
  } else if (!owed.isDone()) reportAbandoned();
  if (!ended) {
    process.stderr.write(`mcpgw: the connection to the daemon ended${why === null ? "" : `: ${why}`}\n`);
    return 1;
  }
  await input;
  return 0;
}
