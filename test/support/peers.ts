import { existsSync } from "node:fs";
import { cp, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

// Programs of others, installed once below .tools/ from a lockfile of their own: too large for every developer.

const source = join(import.meta.dir, "../fixtures/peers");
const tools = join(import.meta.dir, "../../.tools");

let installing: Promise<string> | null = null;

/**
 * The directory of an installed package; the first caller installs them all. Throws when the registry is not reachable.
 */
async function peer(name: string): Promise<string> {
  const home = await (installing ??= install());
  return join(home, "node_modules", name);
}

async function install(): Promise<string> {
  const lock = await Bun.file(join(source, "bun.lock")).bytes();
  const home = join(tools, `peers-${new Bun.CryptoHasher("sha256").update(lock).digest("hex").slice(0, 12)}`);
  if (existsSync(home)) return home;
  const fresh = `${home}.${process.pid}`;
  await mkdir(tools, { recursive: true });
  await cp(source, fresh, { recursive: true });
  const child = Bun.spawn([process.execPath, "install", "--frozen-lockfile", "--ignore-scripts", "--silent"], {
    cwd: fresh,
    stdout: "ignore",
    stderr: "pipe",
  });
  const [why, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`the test peers could not be installed: ${why}`);
  // Of two that install at once the first one's stays.
  await rename(fresh, home).catch(() => rm(fresh, { recursive: true, force: true }));
  return home;
}

/** A command that runs a file of a peer as its own launcher would. */
export async function peerCommand(name: string, file: string): Promise<string[]> {
  return [process.execPath, "--bun", join(await peer(name), file)];
}
