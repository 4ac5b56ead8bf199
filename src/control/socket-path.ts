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

/** Returns why a socket may be another user's (as under `/tmp`), so that a client must not send its key; or null. */
export function whySocketUntrusted(socket: string): string | null {
  const directory = path.dirname(path.resolve(socket));
  // If the directory cannot be examined, connecting fails too, with the reason.
  return orNull(() =>
    isOpen(statSync(directory)) ? "its directory is writable by others" : createdByOtherUser(directory),
  );
}

/** Returns the reason if another user created the directory, or one of its parents, in a place open to all users. */
function createdByOtherUser(directory: string): string | null {
  const parent = path.dirname(directory);
  if (parent === directory) return null;
  // For a link, the creator of the link matters.
  const { uid } = lstatSync(directory);
  if (uid === 0 || uid === process.getuid?.() || !isOpen(statSync(parent))) return createdByOtherUser(parent);
  return `${directory} was created by uid ${uid} in a directory that others may write to`;
}

/**
 * Reports whether a process listens on a socket, since Linux refuses a connection to a full queue like one to a dead
 * socket (proc(5), `/proc/net/unix`). False if that cannot be determined.
 */
export function hasListener(path: string): boolean {
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
    // Only a refused connection shows that nobody listens; without permission to connect, a daemon may still exist.
    return codeOf(error) !== "ECONNREFUSED" || hasListener(socket);
  }
}

/**
 * Prepares the path of a control socket: creates its directory (0700), checks who else may write there, and removes a
 * dead socket, but never anything else. Throws with the reason if the path cannot be used.
 */
export async function prepareSocket(socket: string): Promise<void> {
  const there = statSocket(socket);
  const wrong = problem(socket);
  if (wrong) throw new Error(`control socket ${socket}: ${wrong}`);
  if (!there) return;
  if (!there.isSocket())
    throw new Error(`control socket ${socket}: the file there is not a socket; remove it yourself`);
  if (await answers(socket)) throw new Error(`control socket ${socket}: another daemon is running there`);
  unlinkSync(socket);
}

function statSocket(socket: string): Stats | undefined {
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
