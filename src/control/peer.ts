import { readFileSync } from "node:fs";
import { orNull } from "../core/attempt.ts";
import type { PeerCredentials } from "../core/libc.ts";

/** The rights of a connection: everything, read only, or only attaching with an API key. */
export type Access = "admin" | "read" | "attach";

/** The process at the other end of the control socket, as the kernel reports it, and its rights. */
export type ControlPeer = PeerCredentials & { readonly access: Access };

/** Who has rights: the daemon's own uid and two groups by id; null for a group that does not exist on this machine. */
export type Rights = { readonly uid: number; readonly adminGid: number | null; readonly readGid: number | null };

/** Returns the highest access that a process has by its uid and its groups. */
export function accessOf(who: PeerCredentials, rights: Rights): Access {
  const member = (gid: number | null) => gid !== null && (who.gid === gid || who.groups.includes(gid));
  if (who.uid === 0 || who.uid === rights.uid || member(rights.adminGid)) return "admin";
  return member(rights.readGid) ? "read" : "attach";
}

/** Returns the text of group(5). Empty if it cannot be read; then no group has rights by name. */
export const groupsHere = (): string => read("/etc/group") ?? "";

/** Looks up the id of a group by its name or number in the text of group(5); null if there is no such group. */
export function groupId(name: string, groups: string): number | null {
  if (/^\d+$/.test(name)) return Number(name);
  const line = groups.split("\n").find((entry) => entry.startsWith(`${name}:`));
  const gid = line?.split(":")[2];
  return gid && /^\d+$/.test(gid) ? Number(gid) : null;
}

const read = (path: string): string | null => orNull(() => readFileSync(path, "utf8"));

/** Returns the parent of a process; null if it cannot be seen. The name may have spaces and parentheses (proc(5)). */
function parentOf(pid: number): number | null {
  const stat = read(`/proc/${pid}/stat`);
  const ppid = stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[1];
  return ppid === undefined ? null : Number(ppid);
}

function descends(pid: number, from: number): boolean | null {
  for (let at = pid, depth = 0; depth < 1000; depth++) {
    const parent = parentOf(at);
    if (parent === null) return null;
    if (parent === from) return true;
    if (parent <= 1) return false;
    at = parent;
  }
  return null;
}

/** Returns the cgroup of the service whose main process this is; null outside a service, which may share its cgroup. */
function serviceCgroup(): string | null {
  return process.env["SYSTEMD_EXEC_PID"] === String(process.pid) ? read("/proc/self/cgroup") : null;
}

/**
 * Returns why a peer is refused although its uid would be allowed; null if it is accepted. MCP servers run with the
 * daemon's uid, but must not administer the gateway that governs them.
 */
export function whyPeerRefused(who: PeerCredentials): string | null {
  if (process.platform !== "linux" || who.pid === process.pid) return null;
  const child = descends(who.pid, process.pid);
  if (child === true) return "processes started by the gateway may not use its control socket";
  // The process is hidden or gone. Other users have only the rights of their groups, but a process with the daemon's
  // uid must be visible.
  if (child === null && who.uid === process.getuid?.()) return "the calling process cannot be identified";
  const service = serviceCgroup();
  if (service !== null && read(`/proc/${who.pid}/cgroup`) === service)
    return "processes of the gateway's own service may not use its control socket";
  return null;
}
