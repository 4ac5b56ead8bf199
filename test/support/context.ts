import type { Context } from "../../src/control/contract.ts";
import type { Access } from "../../src/control/peer.ts";

/** Whoever asks without a key, from a process of root's with these rights. */
export const contextOf = (access: Access, signal = new AbortController().signal): Context => ({
  peer: { uid: 0, gid: 0, pid: 1, groups: [], access },
  key: null,
  signal,
});

export const admin = contextOf("admin");
