import { chmodSync, existsSync, lstatSync, mkdirSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";
import { ownership, whyNoDirectory } from "../core/access.ts";
import { codeOf } from "../core/error-text.ts";
import { syncDirectorySync } from "../core/files.ts";
import { lockHolder, tryLock } from "../core/libc.ts";
import { type AuditStore, StoreFailed } from "../core/store.ts";
import { openChain } from "./sqlite/chain.ts";
import { type ChainHome, chainPath, indexPath, statePath } from "./sqlite/paths.ts";
import { openStateStore, type StateStore } from "./sqlite/state.ts";

/** Chains that embedded gateways divide among themselves. */
export const embeddedChains = Array.from({ length: 8 }, (_, index) => `serve-${index + 1}`);

/** Creates the state directory for its owner only; throws `StoreFailed` with the remedy if others may enter it. */
export function prepareStateDir(dir: string): void {
  const fresh = !existsSync(dir);
  if (fresh) {
    makeDirectory(dir);
    // The umask may have removed permissions from the owner too.
    chmodSync(dir, 0o700);
  }
  const stat = lstatSync(dir);
  if (!stat.isDirectory())
    throw new StoreFailed(`${dir} is not a directory; name the real directory instead of a link`);
  if (stat.uid !== process.getuid?.()) {
    // Changing the owner would help this command but lock the daemon out of its own state.
    throw new StoreFailed(
      `${dir} belongs to uid ${stat.uid}, and this is uid ${process.getuid?.()}; run it as that user, for example with ` +
        `sudo -u '#${stat.uid}' mcpgw --state ${dir} …`,
    );
  }
  if ((stat.mode & 0o077) !== 0) throw new StoreFailed(`${dir} is open to others; run: chmod 0700 ${dir}`);
  // Only after these checks: as root it would lock the owner out of the state directory.
  makeDirectory(join(dir, "audit"));
  if (fresh) syncDirectorySync(dir);
}

function makeDirectory(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new StoreFailed(whyNoDirectory(error, dir, "name another with --state"), { cause: error });
  }
}

/** Takes the lock of a state directory's only daemon, creating the directory; throws with the holder's pid. */
export function lockState(dir: string): Disposable {
  prepareStateDir(dir);
  const file = join(dir, "lock");
  const lock = locked(file);
  if (lock) return lock;
  const pid = lockHolder(file);
  throw new StoreFailed(
    `another mcpgw daemon uses ${dir}${pid === null ? "" : ` (pid ${pid})`}; stop it, or give this one another --state`,
  );
}

/** Disk space needed to open the databases, with a margin, in bytes. */
const minFreeBytes = 256 * 1024;

/** Throws `StoreFailed` if the disk is full: with small blocks, SQLite would map memory without disk space and die. */
export function needRoom(dir: string): void {
  const { bsize, bfree, bavail } = statfsSync(dir);
  // The last blocks are reserved for root.
  const free = bsize * (process.getuid?.() === 0 ? bfree : bavail);
  if (free >= minFreeBytes) return;
  const kib = (bytes: number): string => `${Math.floor(bytes / 1024)} KiB`;
  throw new StoreFailed(
    `the disk of ${dir} is full: ${kib(free)} are free, but ${kib(minFreeBytes)} are needed to start`,
  );
}

/** Opens `mcpgw.db` in a prepared state directory. */
export function openState(dir: string): StateStore {
  return openStateStore(statePath(dir));
}

/** A chain with the lock that makes this process its only writer. */
export type OpenedChain = Disposable & { readonly chain: string; readonly store: AuditStore };

/**
 * Opens the first chain whose lock is free for writing; null if all are taken. The daemon passes `main`, an embedded
 * gateway `embeddedChains`. Throws `StoreFailed` if the file is a link or belongs to something else.
 */
export function openFreeChain(home: ChainHome, chains: readonly string[]): OpenedChain | null {
  refuseOther(home);
  for (const chain of chains) {
    const path = chainPath(home, chain);
    refuseLink(path);
    using opened = lockAll(locksOf(home, chain));
    if (!opened) continue;
    const store = opened.use(openChain(path));
    const held = opened.move();
    return { chain, store, [Symbol.dispose]: () => held.dispose() };
  }
  return null;
}

/** Refuses a link: SQLite keeps its log beside the real file, so a lock beside the link would protect nothing. */
function refuseLink(path: string): void {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) return;
  throw new StoreFailed(`${path} is a symbolic link; name the real file in audit.path instead`);
}

/** Refuses another file's path: as the index, the log would be deleted; as a chain, it would get two writers. */
function refuseOther({ state, main }: ChainHome): void {
  const others = [
    statePath(state),
    indexPath(state),
    ...embeddedChains.map((chain) => chainPath({ state, main }, chain)),
  ];
  if (main === null || !others.includes(main)) return;
  throw new StoreFailed(
    `${main} is the path of another file of the state directory; name a separate file in audit.path`,
  );
}

/** Returns a chain's locks. A file elsewhere has its own, as it may be shared by a state directory and its copy. */
export function locksOf(home: ChainHome, chain: string): string[] {
  const path = chainPath(home, chain);
  return [...(path === home.main ? [`${path}.lock`] : []), join(home.state, "audit", `${chain}.lock`)];
}

/** Takes all of these locks; returns null and holds none if another process holds one of them. */
function lockAll(paths: readonly string[]): DisposableStack | null {
  using taken = new DisposableStack();
  return paths.every((path) => taken.use(locked(path))) ? taken.move() : null;
}

/** Calls `tryLock`; throws `StoreFailed` with an explanation if the file cannot be created or written. */
function locked(path: string): Disposable | null {
  try {
    return tryLock(path);
  } catch (error) {
    const why = whyUnlocked(codeOf(error), path);
    throw why === null ? error : new StoreFailed(why, { cause: error });
  }
}

function whyUnlocked(code: string | null, path: string): string | null {
  const [dir, uid] = [dirname(path), process.getuid?.()];
  if (code === "EROFS")
    return `${dir} is read-only for this process; under systemd add ReadWritePaths=${dir} to the unit`;
  if (code !== "EACCES") return null;
  if (existsSync(path)) return `${path}: uid ${uid} may not write it: ${ownership(path)}`;
  return `uid ${uid} may not write in ${dir}; give it the directory, or run as its owner`;
}
