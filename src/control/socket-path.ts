import { lstatSync, mkdirSync, readFileSync, type Stats, statSync, unlinkSync } from "node:fs";
import path from "node:path";
import { whyNoDirectory } from "../core/access.ts";
import { orNull } from "../core/attempt.ts";
import { codeOf } from "../core/error-text.ts";

const isOpen = ({ mode }: { readonly mode: number }): boolean => (mode & 0o022) !== 0;

function problem(socket: string): string | null {
  const directory = statSync(path.dirname(socket));
  if (isOpen(directory)) return "its directory is writable by others; chmod go-w it or choose another";
  const uid = process.getuid?.();
  if (directory.uid !== 0 && directory.uid !== uid)
    return `its directory belongs to uid ${directory.uid}, not to ${uid}`;
  return null;
}

/**
 * Why a client must not speak to who listens on a socket, whom it would tell its key: another user may have put it
 * there, as into a directory of `/tmp`. Null if there is no such doubt.
 */
export function mistrust(socket: string): string | null {
  const directory = path.dirname(path.resolve(socket));
  // What cannot be looked at cannot be connected to either, which says why.
  return orNull(() => (isOpen(statSync(directory)) ? "its directory is writable by others" : madeByOther(directory)));
}

/** Whether a directory, or one that it lies in, was made by another user where everybody may make some. */
function madeByOther(directory: string): string | null {
  const parent = path.dirname(directory);
  if (parent === directory) return null;
  // Of a link it counts who made it.
  const { uid } = lstatSync(directory);
  if (uid === 0 || uid === process.getuid?.() || !isOpen(statSync(parent))) return madeByOther(parent);
  return `${directory} was made by uid ${uid} where others may write`;
}

/**
 * Whether a process listens on a socket: Linux refuses a connection to a full queue as it does one to a dead socket
 * (proc(5), `/proc/net/unix`). False where that cannot be told.
 */
export function isListened(path: string): boolean {
  const accepting = /^\S+ \S+ \S+ 00010000 /;
  const lines = orNull(() => readFileSync("/proc/net/unix", "utf8"))?.split("\n") ?? [];
  return lines.some((line) => accepting.test(line) && line.endsWith(` ${path}`));
}

async function answers(socket: string): Promise<boolean> {
  try {
    const probe = await Bun.connect({ unix: socket, socket: { data() {} } });
    probe.end();
    return true;
  } catch (error) {
    // Only a refused connection shows that nobody listens: without permission to connect, a daemon may still be there.
    return codeOf(error) !== "ECONNREFUSED" || isListened(socket);
  }
}

/**
 * Makes room for a control socket: creates its directory (0700), checks who else may write there, and removes a socket
 * on which nobody answers. Throws with the reason, and never removes anything else.
 */
export async function prepareSocket(socket: string): Promise<void> {
  const there = whatIsAt(socket);
  const wrong = problem(socket);
  if (wrong) throw new Error(`control socket ${socket}: ${wrong}`);
  if (!there) return;
  if (!there.isSocket())
    throw new Error(`control socket ${socket}: something else is in its place; remove it yourself`);
  if (await answers(socket)) throw new Error(`control socket ${socket}: another daemon answers there`);
  unlinkSync(socket);
}

function whatIsAt(socket: string): Stats | undefined {
  const directory = path.dirname(socket);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return lstatSync(socket, { throwIfNoEntry: false });
  } catch (error) {
    throw new Error(`control socket ${socket}: ${whyNoDirectory(error, directory, "name another with --socket")}`, {
      cause: error,
    });
  }
}
