import { lstatSync } from "node:fs";
import { messageOf } from "../core/error-text.ts";
import { within } from "../core/wait.ts";
import { peerCredentials, type PeerCredentials } from "../core/libc.ts";
import type { Logger } from "../core/log.ts";
import { Intake, piecesOf } from "../core/turns.ts";
import { Unread } from "../core/unread.ts";
import { type ConnectionOptions, ControlConnection } from "./connection.ts";
import { refusal } from "./messages.ts";
import { SocketWriter } from "./socket-writer.ts";
import { accessOf, groupId, groupsHere, refusePeer, type Rights } from "./peer.ts";
import { Refusal } from "./refusal.ts";
import { prepareSocket } from "./socket-path.ts";

export type ControlOptions = Omit<ConnectionOptions, "peer"> & {
  /** Path of the socket; its directory is made if it is missing. */
  readonly path: string;
  readonly adminGroup: string;
  readonly readGroup: string;
  readonly maxConnections?: number;
  /** How soon a new connection has to say something, ms. */
  readonly silence?: number;
  /** Bytes that may wait for all connections of one user but tunnels, which are bounded for each principal. */
  readonly maxUnread?: number;
};

/** A listening control socket. */
export type ControlServer = {
  close(): void;
};

/** Connections reserved for administrators, so that others cannot lock them out. */
const reserved = 32;
/** The part of the others that one user may have, so that no user locks out the rest. */
const share = 3 / 4;
/** Milliseconds between two looks at whether the socket is still there. */
const lookMs = 1_000;
/** Bytes that may wait for one peer: two of the longest answers. */
const maxQueued = 64 << 20;

type Served = {
  readonly uid: number;
  readonly connection: ControlConnection;
  readonly intake: Intake<Uint8Array>;
  /** Hangs up on a peer that says nothing. */
  readonly timer: Timer;
  /** What it holds counts no more. */
  readonly uncount: () => void;
};
/** `served` is null for a peer that is turned away. */
type State = { readonly outbox: SocketWriter; served: Served | null };
type Socket = Bun.Socket<State>;

// The descriptor exists at run time, although Bun's types omit it.
const descriptor = (socket: Socket): number => (socket as unknown as { readonly fd: number }).fd;

function peerOf(socket: Socket, log: Logger): PeerCredentials | null {
  try {
    return peerCredentials(descriptor(socket));
  } catch (error) {
    log.warn("control connection refused", { why: messageOf(error) });
    return null;
  }
}

function rightsOf({ adminGroup, readGroup }: ControlOptions): Rights {
  const groups = groupsHere();
  return {
    uid: process.getuid?.() ?? 0,
    adminGid: groupId(adminGroup, groups),
    readGid: groupId(readGroup, groups),
  };
}

/** Says why and hangs up a moment later: a peer that is still connecting would otherwise see a broken connection. */
function turnAway(socket: Socket, error: Refusal): void {
  socket.write(`${refusal(null, error)}\n`);
  setTimeout(() => socket.terminate(), 100);
}

/** Closes at once if nothing is left to send; what the kernel has taken still arrives. */
async function endWhenDrained(socket: Socket, patience: number): Promise<void> {
  await within(socket.data.outbox.drained(), patience, null, () => {});
  socket.terminate();
}

const heldBy = (uid: number, open: Set<Socket>): number =>
  [...open].filter(({ data: { served } }) => served?.uid === uid).length;

function opener(options: ControlOptions, open: Set<Socket>) {
  const { maxConnections = 256, silence = 10_000, maxUnread = 4 * maxQueued } = options;
  const rights = rightsOf(options);
  const unread = new Unread((user, bytes) => {
    const facts = { uid: Number(user), bytes };
    options.log.warn("a control connection was cut off, as its user left too much unread", facts, user);
  });
  return (socket: Socket): void => {
    const who = peerOf(socket, options.log);
    const user = String(who?.uid);
    const outbox = new SocketWriter(socket, maxQueued, () => unread.bound(user, maxUnread));
    socket.data = { outbox, served: null };
    if (!who) return turnAway(socket, new Refusal("denied", "the calling process cannot be identified"));
    const peer = { ...who, access: accessOf(who, rights) };
    const stranger = refusePeer(who);
    if (stranger) {
      options.log.warn("control connection refused", { uid: who.uid, pid: who.pid, why: stranger });
      return turnAway(socket, new Refusal("denied", stranger));
    }
    const room = peer.access === "admin" ? maxConnections : maxConnections - reserved;
    const most = peer.access === "admin" ? room : Math.floor(room * share);
    if (open.size >= room || heldBy(who.uid, open) >= most)
      return turnAway(socket, new Refusal("busy", "too many control connections; try again later"));
    open.add(socket);
    const connection = new ControlConnection(
      { ...options, peer },
      outbox,
      (patience) => void endWhenDrained(socket, patience),
    );
    const intake = new Intake<Uint8Array>({
      take: (bytes) => connection.push(bytes),
      pause: () => socket.pause(),
      resume: () => socket.resume(),
    });
    const timer = setTimeout(() => {
      if (!connection.active) socket.terminate();
    }, silence);
    const drop = (): void => {
      connection.closed();
      socket.terminate();
    };
    const uncount = unread.add(user, { queued: () => (connection.tunnelled ? 0 : outbox.queued), drop });
    socket.data.served = { uid: who.uid, connection, intake, timer, uncount };
  };
}

/**
 * Opens the control socket; throws with the reason if its place is unsafe or taken. One that is deleted is opened anew.
 */
export async function listen(options: ControlOptions): Promise<ControlServer> {
  const { path, log } = options;
  await prepareSocket(path);
  const open = new Set<Socket>();
  let bound = bind(options, open);
  // Its connections stay. Where another file has taken the place, it may be the socket of another daemon.
  const look = async (): Promise<void> => {
    if (fileAt(path)) return;
    bound.listener.stop();
    await prepareSocket(path);
    bound = bind(options, open);
    log.warn("the control socket was deleted; listening on a new one", { socket: path });
  };
  const timer = setInterval(() => {
    look().catch((error: unknown) => log.warn("no control socket", { cause: messageOf(error) }, path));
  }, lookMs).unref();
  return {
    close() {
      clearInterval(timer);
      const { listener, ino } = bound;
      // Stopping it deletes whatever file stands there, also what another daemon has put in its place.
      if (isAnother(path, ino)) listener.unref();
      else listener.stop();
      for (const socket of open) socket.terminate();
    },
  };
}

const fileAt = (path: string) => lstatSync(path, { throwIfNoEntry: false });

/** Whether another file than the one with this inode stands at the path, or may do so. */
function isAnother(path: string, ino: number): boolean {
  try {
    const there = fileAt(path);
    return there !== undefined && there.ino !== ino;
  } catch {
    return true;
  }
}

/** Listens at a path where nothing is. */
function bind(options: ControlOptions, open: Set<Socket>) {
  const gone = (socket: Socket) => {
    open.delete(socket);
    const served = socket.data?.served;
    if (!served) return;
    clearTimeout(served.timer);
    served.uncount();
    served.intake.end(() => served.connection.closed());
  };
  // What a callback throws comes here, and Bun keeps the socket: its peer would wait for ever.
  const failed = (socket: Socket, error: unknown): void => {
    options.log.error("a control connection failed", { cause: messageOf(error) });
    socket.terminate();
  };
  // Set before bind: with a chmod afterwards, everybody could connect for a moment.
  const umask = process.umask(0o117);
  try {
    const listener = Bun.listen<State>({
      unix: options.path,
      socket: {
        open: opener(options, open),
        data: ({ data: { served } }, chunk) => {
          if (served) for (const piece of piecesOf(chunk)) served.intake.push(piece);
        },
        drain: (socket) => socket.data.outbox.flush(),
        close: gone,
        error: failed,
      },
    });
    return { listener, ino: lstatSync(options.path).ino };
  } finally {
    process.umask(umask);
  }
}
