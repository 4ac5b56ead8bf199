import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync, symlinkSync } from "node:fs";
import { accessOf, groupId, whyPeerRefused } from "../../src/control/peer.ts";
import { TempDir } from "../support/temp-dir.ts";

const groups = "root:x:0:\nmcpgw-admin:x:990:alice\nmcpgw-audit:x:991:\nodd:x::\n";

test.each([
  ["mcpgw-admin", 990],
  ["mcpgw-audit", 991],
  ["mcpgw", null],
  ["odd", null],
  ["4711", 4711],
])("group %s has id %p", (name, id) => {
  expect(groupId(name, groups)).toBe(id);
});

const rights = { uid: 500, adminGid: 990, readGid: 991 };
const peer = { uid: 1000, gid: 1000, pid: 1, groups: [1000] };

test.each([
  ["root", { ...peer, uid: 0 }, rights, "admin"],
  ["the daemon's own uid", { ...peer, uid: 500 }, rights, "admin"],
  ["a member of the administrators", { ...peer, groups: [1000, 990] }, rights, "admin"],
  ["whose first group they are", { ...peer, gid: 990 }, rights, "admin"],
  ["a member of both", { ...peer, groups: [991, 990] }, rights, "admin"],
  ["a member of the readers", { ...peer, groups: [991] }, rights, "read"],
  ["anybody else", peer, rights, "attach"],
  [
    "a member of a group that does not exist here",
    { ...peer, groups: [0] },
    { ...rights, adminGid: null, readGid: null },
    "attach",
  ],
] as const)("T50 R124: %s may do what SEMANTICS says", (_who, credentials, given, access) => {
  expect(accessOf(credentials, given)).toBe(access);
});

describe.skipIf(process.platform !== "linux")("a peer whose uid is allowed is refused", () => {
  const uid = process.getuid?.() ?? 0;
  const refused = (pid: number, as = uid) => whyPeerRefused({ pid, uid: as, gid: 0, groups: [] });
  const { SYSTEMD_EXEC_PID: service } = process.env;
  afterEach(() => {
    if (service === undefined) delete process.env["SYSTEMD_EXEC_PID"];
    else process.env["SYSTEMD_EXEC_PID"] = service;
  });

  /** Starts a child with a grandchild, which live until the child is killed; resolves to the first and last pid. */
  async function family() {
    const command = "cat >/dev/null <&3 & echo $!; wait";
    const child = Bun.spawn(["sh", "-c", `exec 3<&0; sh -c '${command}'; wait`], { stdin: "pipe", stdout: "pipe" });
    const { value } = await child.stdout.getReader().read();
    return { child: child.pid, descendant: Number(new TextDecoder().decode(value)), end: () => child.stdin.end() };
  }

  test("if it is a descendant of the gateway, whatever its uid (needs Linux)", async () => {
    const { child, descendant, end } = await family();
    for (const pid of [child, descendant]) {
      for (const as of [uid, uid + 1]) expect(refused(pid, as)).toContain("started by the gateway");
    }
    await end();
  });

  test("if it is a descendant, whatever its process name (needs Linux)", async () => {
    using at = new TempDir();
    // In /proc, the name comes before the parent's pid.
    const program = at.path("x) S 1 (y");
    symlinkSync(Bun.which("cat") ?? "", program);
    const child = Bun.spawn([program], { stdin: "pipe", stdout: "pipe" });
    await child.stdin.write("runs");
    await child.stdin.flush();
    await child.stdout.getReader().read();
    expect(readFileSync(`/proc/${child.pid}/comm`, "utf8")).toBe("x) S 1 (y\n");
    expect(refused(child.pid)).toContain("started by the gateway");
    await child.stdin.end();
    await child.exited;
  });

  test("if it has the gateway's uid and cannot be seen; one with another uid has the rights of its groups (needs Linux)", async () => {
    const gone = Bun.spawn(["true"]);
    await gone.exited;
    expect(refused(gone.pid)).toContain("cannot be identified");
    expect(refused(gone.pid, uid + 1)).toBeNull();
  });

  test("if it belongs to the gateway's own service, and only then (needs Linux)", () => {
    process.env["SYSTEMD_EXEC_PID"] = String(process.pid);
    expect(refused(process.ppid)).toContain("the gateway's own service");
    expect(refused(process.pid)).toBeNull();
    process.env["SYSTEMD_EXEC_PID"] = String(process.ppid);
    expect([refused(process.ppid), refused(process.pid)]).toEqual([null, null]);
  });
});
