import type { Context } from "../../src/control/contract.ts";
import type { Access } from "../../src/control/peer.ts";

/** The context of a request without a key from one of root's processes, with these rights. */
export const contextOf = (access: Access, signal = new AbortController().signal): Context => ({
  peer: { uid: 0, gid: 0, pid: 1, groups: [], access },
  key: null,
  signal,
});

export const admin = contextOf("admin");
