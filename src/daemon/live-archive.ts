import { existsSync } from "node:fs";
import type { AuditBroker } from "../audit/broker.ts";
import { Verifier } from "../audit/verify.ts";
import { Refusal } from "../control/refusal.ts";
import { type ChainHome, chainNames, chainPath } from "../store/sqlite/paths.ts";
import type { Archive } from "./archive.ts";
import type { HousekeeperClient } from "./housekeeper-client.ts";

/**
 * Beside a running gateway: the housekeeper reads, in its own thread, from the files that are there. Once those of the
 * gateway's own log are gone or replaced, nothing is answered: what it still records is not in them.
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
    // Its own chain is one of them, also where its file is gone.
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
      // A log that is gone while it is in use is as much cut off as one that was gone before.
      const isGone = !existsSync(chainPath(home, audit.chain));
      const verifier = new Verifier(options);
      verifier.fail({ seq: null, kind: isGone ? "truncated" : "unreadable", detail: fault });
      return verifier.report();
    },
  };
}
