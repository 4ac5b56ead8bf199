import { existsSync } from "node:fs";
import { cp, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

// Third-party programs, installed once below .tools/ from their own lockfile: too large for every developer.

const source = join(import.meta.dir, "../fixtures/peers");
const tools = join(import.meta.dir, "../../.tools");

let installing: Promise<string> | null = null;

/** Returns the directory of an installed package; the first call installs them all. Throws if the registry is down. */
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
  // If two install at once, the first one stays.
  await rename(fresh, home).catch(() => rm(fresh, { recursive: true, force: true }));
  return home;
}

/** Returns a command that runs a file of a peer as its own launcher would. */
export async function peerCommand(name: string, file: string): Promise<string[]> {
  return [process.execPath, "--bun", join(await peer(name), file)];
}
