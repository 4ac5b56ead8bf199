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
import { accessOf, groupId, groupsHere, whyPeerRefused, type Rights } from "./peer.ts";
import { Refusal } from "./refusal.ts";
import { prepareSocket } from "./socket-path.ts";

export type ControlOptions = Omit<ConnectionOptions, "peer"> & {
  /** Path of the socket; its directory is created if it is missing. */
  readonly path: string;
  readonly adminGroup: string;
  readonly readGroup: string;
  readonly maxConnections?: number;
  /** Maximum time until a new connection must send something, in ms. */
  readonly silence?: number;
  /** Maximum bytes queued for all connections of one user, except tunnels, which are bounded per principal. */
  readonly maxUnread?: number;
};

export type ControlServer = {
  close(): void;
};

/** Number of connections reserved for administrators, so that others cannot lock them out. */
const reserved = 32;
/** The share of the remaining connections that one user may have, so that no user locks out the rest. */
const share = 3 / 4;
/** Interval of the check whether the socket still exists, in ms. */
const socketCheckMs = 1_000;
/** Maximum bytes queued for one peer: two answers of maximum length. */
const maxQueued = 64 << 20;

type Served = {
  readonly uid: number;
  readonly connection: ControlConnection;
  readonly intake: Intake<Uint8Array>;
  /** Closes the connection if the peer sends nothing. */
  readonly timer: Timer;
  /** Stops counting the bytes queued for the connection. */
  readonly uncount: () => void;
};
/** The state of a socket; `served` is null for a refused peer. */
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

/** Sends the reason and closes a moment later, or a peer that is still connecting would see a broken connection. */
function turnAway(socket: Socket, error: Refusal): void {
  socket.write(`${refusal(null, error)}\n`);
  setTimeout(() => socket.terminate(), 100);
}

/** Closes once everything queued is sent, or after `patience` ms; data that the kernel has taken still arrives. */
async function closeWhenDrained(socket: Socket, patience: number): Promise<void> {
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
    options.log.warn("a control connection was closed because its user left too much data unread", facts, user);
  });
  return (socket: Socket): void => {
    const who = peerOf(socket, options.log);
    const user = String(who?.uid);
    const outbox = new SocketWriter(socket, maxQueued, () => unread.bound(user, maxUnread));
    socket.data = { outbox, served: null };
    if (!who) return turnAway(socket, new Refusal("denied", "the calling process cannot be identified"));
    const peer = { ...who, access: accessOf(who, rights) };
    const stranger = whyPeerRefused(who);
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
      (patience) => void closeWhenDrained(socket, patience),
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

/** Opens the control socket, again if it is deleted; throws with the reason if its path is unsafe or taken. */
export async function listen(options: ControlOptions): Promise<ControlServer> {
  const { path, log } = options;
  await prepareSocket(path);
  const open = new Set<Socket>();
  let bound = bind(options, open);
  // Existing connections stay. If another file has taken the path, it may be the socket of another daemon.
  const look = async (): Promise<void> => {
    if (fileAt(path)) return;
    bound.listener.stop();
    await prepareSocket(path);
    bound = bind(options, open);
    log.warn("the control socket was deleted; listening on a new one", { socket: path });
  };
  const timer = setInterval(() => {
    look().catch((error: unknown) =>
      log.warn("the control socket cannot be opened again", { cause: messageOf(error) }, path),
    );
  }, socketCheckMs).unref();
  return {
    close() {
      clearInterval(timer);
      const { listener, ino } = bound;
      // `stop` deletes whatever file is at the path, even if another daemon has put its socket there.
      if (isAnother(path, ino)) listener.unref();
      else listener.stop();
      for (const socket of open) socket.terminate();
    },
  };
}

const fileAt = (path: string) => lstatSync(path, { throwIfNoEntry: false });

/** Reports whether a file other than the one with this inode is, or may be, at the path. */
function isAnother(path: string, ino: number): boolean {
  try {
    const there = fileAt(path);
    return there !== undefined && there.ino !== ino;
  } catch {
    return true;
  }
}

/** Listens at a path where no file exists. */
function bind(options: ControlOptions, open: Set<Socket>) {
  const gone = (socket: Socket) => {
    open.delete(socket);
    const served = socket.data?.served;
    if (!served) return;
    clearTimeout(served.timer);
    served.uncount();
    served.intake.end(() => served.connection.closed());
  };
  // Bun passes errors of callbacks here and keeps the socket open, so its peer would wait forever.
  const failed = (socket: Socket, error: unknown): void => {
    options.log.error("a control connection failed", { cause: messageOf(error) });
    socket.terminate();
  };
  // Set before bind, since with a chmod afterwards everybody could connect for a moment.
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
