import { silent } from "../../src/core/log.ts";
import type { LinkHost } from "../../src/upstream/link/link.ts";

/** The owner of a link, which cares for nothing that is about no request. */
export const linkHost: LinkHost = {
  server: "a",
  limits: { depth: 64, nodes: 1_000, result: 1_000_000, batch: 100 },
  client: { name: "t", version: "0" },
  declares: "{}",
  asked: () => null,
  timeout: () => 1_000,
  log: silent,
  notified: () => false,
  renewed: () => {},
  dropped: () => {},
};
