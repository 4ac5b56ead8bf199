import { existsSync } from "node:fs";
import type { AuditBroker } from "../audit/broker.ts";
import { Verifier } from "../audit/verify.ts";
import { Refusal } from "../control/refusal.ts";
import { type ChainHome, chainNames, chainPath } from "../store/sqlite/paths.ts";
import type { Archive } from "./archive.ts";
import type { HousekeeperClient } from "./housekeeper-client.ts";

/**
 * Returns the archive of a running gateway, which the housekeeper reads in its own thread. If the files of the
 * gateway's own log are gone or replaced, every read is refused, because new records are not in the files on disk.
 */
export function liveArchive(
  keeper: Pick<HousekeeperClient, "ask" | "verify">,
  audit: Pick<AuditBroker, "chain" | "fault">,
  home: ChainHome,
): Archive {
  const ask: HousekeeperClient["ask"] = (name, ...args) => {
    const fault = audit.fault();
    if (fault === null) return keeper.ask(name, ...args);
    return Promise.reject(new Refusal("unavailable", `the audit log cannot be read: ${fault}`));
  };
  return {
    // Includes its own chain even if the file is gone.
    chains: () => [...new Set([...chainNames(home), audit.chain])].sort(),
    find: (...args) => ask("find", ...args),
    page: (...args) => ask("page", ...args),
    last: (...args) => ask("last", ...args),
    payloads: (...args) => ask("payloads", ...args),
    subject: (...args) => ask("subject", ...args),
    usage: (...args) => ask("usage", ...args),
    async verify(options, signal) {
      const fault = options.chain === audit.chain ? audit.fault() : null;
      if (fault === null) return keeper.verify(options, signal);
      // A log whose file disappears while in use counts as truncated, like one that was missing at the start.
      const isGone = !existsSync(chainPath(home, audit.chain));
      const verifier = new Verifier(options);
      verifier.fail({ seq: null, kind: isGone ? "truncated" : "unreadable", detail: fault });
      return verifier.report();
    },
  };
}
