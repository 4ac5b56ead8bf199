import { expect, test } from "bun:test";
import { accessOf, groupId } from "../../src/control/peer.ts";

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
