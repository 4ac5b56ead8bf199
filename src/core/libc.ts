import { dlopen, FFIType, ptr, read } from "bun:ffi";
import { closeSync, constants, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import os from "node:os";
import { orNull } from "./attempt.ts";
import { messageOf } from "./error-text.ts";

// The only file that calls C: what neither Bun nor Node offers, for glibc, musl and macOS.

const mac = process.platform === "darwin";
const { i32, u32, u64, ptr: pointer } = FFIType;

const shared = {
  execve: { args: [pointer, pointer, pointer], returns: i32 },
  flock: { args: [i32, i32], returns: i32 },
  getsockopt: { args: [i32, i32, i32, pointer, pointer], returns: i32 },
  sendto: { args: [i32, pointer, u64, i32, pointer, u32], returns: FFIType.i64_fast },
  socket: { args: [i32, i32, i32], returns: i32 },
  waitpid: { args: [i32, pointer, i32], returns: i32 },
} as const;
const linux = {
  prctl: { args: [i32, u64, u64, u64, u64], returns: i32 },
  __errno_location: { args: [], returns: pointer },
  setpriority: { args: [i32, u32, i32], returns: i32 },
} as const;
const darwin = { __error: { args: [], returns: pointer } } as const;

/** Returns the C library that this process uses. Loading a second one would be undefined behavior. */
function libraryName(): string {
  if (mac) return "/usr/lib/libSystem.B.dylib";
  return /\/\S*ld-musl-\S+\.so\.1/.exec(readFileSync("/proc/self/maps", "utf8"))?.[0] ?? "libc.so.6";
}

function open() {
  try {
    const name = libraryName();
    if (mac) {
      const { symbols } = dlopen(name, { ...shared, ...darwin });
      return { ...symbols, prctl: null, setpriority: null, errno: symbols.__error };
    }
    const { symbols } = dlopen(name, { ...shared, ...linux });
    return { ...symbols, errno: symbols.__errno_location };
  } catch (error) {
    throw new Error(
      "mcpgw cannot load the C library of this system, which it needs for locks, sockets and child processes " +
        `(${messageOf(error)}); use a build for this system (glibc or musl), and allow it memory that is both ` +
        "writable and executable (no MemoryDenyWriteExecute) and 4 GiB in total (ulimit -v and -d)",
      { cause: error },
    );
  }
}

let loaded: ReturnType<typeof open> | null = null;
const libc = () => (loaded ??= open());

const errnoNames = new Map(Object.entries(os.constants.errno).map(([name, value]) => [value, name]));

function errno(): string {
  const at = libc().errno();
  const value = at === null ? 0 : read.i32(at, 0);
  return errnoNames.get(value) ?? `errno ${value}`;
}

const cString = (text: string): Buffer => Buffer.from(`${text}\0`);

/** Reports a state such as `READY=1` to the service manager (sd_notify(3)); false if there is none. */
export function sdNotify(state: string, address = process.env["NOTIFY_SOCKET"]): boolean {
  if (mac || !address) return false;
  const path = Buffer.from(address.startsWith("@") ? `\0${address.slice(1)}` : address);
  if (path.length > 107) throw new Error(`NOTIFY_SOCKET is too long for a socket address: ${address}`);
  const sockaddr = Buffer.alloc(110);
  sockaddr.writeUInt16LE(1 /* AF_UNIX */, 0);
  path.copy(sockaddr, 2);
  // The length of an abstract address is that of its name; a path includes its final zero byte.
  const length = 2 + path.length + (path[0] === 0 ? 0 : 1);
  const fd = libc().socket(1, 2 | 0o2000000 /* SOCK_DGRAM | SOCK_CLOEXEC */, 0);
  if (fd < 0) throw new Error(`socket for NOTIFY_SOCKET: ${errno()}`);
  try {
    const message = Buffer.from(state);
    const sent = libc().sendto(fd, ptr(message), message.length, 0x4000 /* MSG_NOSIGNAL */, ptr(sockaddr), length);
    if (Number(sent) < 0) throw new Error(`NOTIFY_SOCKET ${address}: ${errno()}`);
    return true;
  } finally {
    closeSync(fd);
  }
}

/** Locks an open file until the lock is disposed of or the process ends in any way; null if another one holds it. */
function lockNow(fd: number, path: string): Disposable | null {
  if (libc().flock(fd, 2 | 4 /* LOCK_EX | LOCK_NB */) !== 0) {
    const reason = errno();
    closeSync(fd);
    if (reason === "EAGAIN" || reason === "EWOULDBLOCK") return null;
    throw new Error(`lock ${path}: ${reason}`);
  }
  const held = new DisposableStack();
  held.defer(() => closeSync(fd));
  return held;
}

/** Takes the lock and writes this process's pid into the file; null if another process holds it (see `lockHolder`). */
export function tryLock(path: string): Disposable | null {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  const lock = lockNow(fd, path);
  if (!lock) return null;
  ftruncateSync(fd, 0);
  writeSync(fd, `${process.pid}\n`, 0);
  return lock;
}

/** Takes the lock of a directory, writing nothing; null if another process, which only needs read access, holds it. */
export const tryLockDirectory = (path: string): Disposable | null =>
  lockNow(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY), path);

/** Returns the pid that last took the lock; null if the file has none. The process may have ended since. */
export function lockHolder(path: string): number | null {
  const pid = Number(orNull(() => readFileSync(path, "utf8")));
  return Number.isSafeInteger(pid) && pid > 0 ? pid : null;
}

function prctl(option: number, value: number, name: string): boolean {
  const call = libc().prctl;
  if (!call) return false;
  if (call(option, value, 0, 0, 0) !== 0) throw new Error(`prctl ${name}: ${errno()}`);
  return true;
}

/**
 * Hides this process's memory and environment from other processes of its uid, even its children; false if unsupported.
 */
export const setNonDumpable = (): boolean => prctl(4, 0, "PR_SET_DUMPABLE");

/** Makes this process, not init, the parent of its orphaned descendants; false if unsupported. */
export const setSubreaper = (): boolean => (subreaper = prctl(36, 1, "PR_SET_CHILD_SUBREAPER"));

/** Reports whether this process is a subreaper, which inherits its orphaned descendants. */
export const isSubreaper = (): boolean => subreaper;

let subreaper = false;

/** Lowers the priority of this thread below the user's other threads; only on Linux, where threads have priorities. */
export function lowerThreadPriority(): void {
  libc().setpriority?.(0 /* PRIO_PROCESS */, 0, 10);
}

/** The process at the other end of a Unix socket, as the kernel recorded it at connect. */
export type PeerCredentials = {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
};

function socketOption(fd: number, level: number, option: number, bytes: number): Buffer {
  const value = Buffer.alloc(Math.max(bytes, 4));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes, 0);
  if (libc().getsockopt(fd, level, option, ptr(value), ptr(length)) === 0)
    return value.subarray(0, length.readUInt32LE(0));
  const reason = errno();
  // The kernel reports how much room it needs.
  const needed = length.readUInt32LE(0);
  if (reason === "ERANGE" && needed > bytes) return socketOption(fd, level, option, needed);
  throw new Error(`peer credentials of socket ${fd}: ${reason}`);
}

const integers = (bytes: Buffer): number[] =>
  Array.from({ length: bytes.length >> 2 }, (_, index) => bytes.readUInt32LE(index * 4));

/** Returns the peer of a connected Unix socket; throws if `fd` is not one. */
export function peerCredentials(fd: number): PeerCredentials {
  if (mac) {
    // struct xucred: version, uid, ngroups (short, padded), groups[16]; the first group is the effective one.
    const cred = socketOption(fd, 0 /* SOL_LOCAL */, 1 /* LOCAL_PEERCRED */, 76);
    const groups = integers(cred.subarray(12)).slice(0, cred.readInt16LE(8));
    const pid = socketOption(fd, 0, 2 /* LOCAL_PEERPID */, 4).readInt32LE(0);
    return { uid: cred.readUInt32LE(4), gid: groups[0] ?? cred.readUInt32LE(12), pid, groups };
  }
  const cred = socketOption(fd, 1 /* SOL_SOCKET */, 17 /* SO_PEERCRED */, 12);
  const groups = integers(socketOption(fd, 1, 59 /* SO_PEERGROUPS */, 256));
  return { pid: cred.readInt32LE(0), uid: cred.readUInt32LE(4), gid: cred.readUInt32LE(8), groups };
}

/** Replaces this process with another program under the same pid; returns only by throwing. */
export function execve(path: string, argv: readonly string[], env: Readonly<Record<string, string>>): never {
  const strings: Buffer[] = [];
  const vector = (items: readonly string[]): BigUint64Array => {
    const buffers = items.map(cString);
    strings.push(...buffers);
    return new BigUint64Array([...buffers.map((buffer) => BigInt(ptr(buffer))), 0n]);
  };
  const args = vector(argv);
  const environment = vector(Object.entries(env).map(([name, value]) => `${name}=${value}`));
  libc().execve(ptr(cString(path)), ptr(args), ptr(environment));
  throw new Error(`execve ${path} (${strings.length} strings): ${errno()}`);
}

/** Reaps an ended child that this process inherited as a subreaper; true if it is gone from the process table. */
export function reap(pid: number): boolean {
  const status = Buffer.alloc(4);
  const result = libc().waitpid(pid, ptr(status), 1 /* WNOHANG */);
  return result === pid || (result < 0 && errno() === "ECHILD");
}
