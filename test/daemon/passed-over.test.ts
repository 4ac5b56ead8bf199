import { expect, setDefaultTimeout, test } from "bun:test";
import { Place } from "../support/daemon.ts";
import { isRoot, canBecomeNobody } from "../support/processes.ts";

// Each command is a process; on a busy machine that takes its time.
setDefaultTimeout(30_000);

const config = { servers: [], policies: [] };

test.skipIf(isRoot && !canBecomeNobody)(
  "R23 a daemon of ./gateway.yaml is found by config only; other commands in that directory do not claim that it is frozen (needs setpriv as root)",
  async () => {
    using place = new Place({ ...config, state: "state" });
    // Root reads no `./gateway.yaml`.
    place.becomeNobody();
    await using daemon = await place.start();
    expect(await place.bare(["config", "reload"])).toMatchObject({ code: 0 });
    for (const args of [
      ["config", "show"],
      ["config", "show", "--running"],
    ]) {
      const shown = await place.bare(args);
      expect(shown.code).toBe(0);
      expect(shown.stderr).toContain(place.config);
    }
    const frozen = await place.bare(["keys", "freeze"]);
    expect(frozen).toMatchObject({ code: 2, stdout: "" });
    expect(frozen.stderr).toContain("this command does not read the gateway.yaml in this directory");
    const made = await place.bare(["keys", "create", "A", "agent", "user", "--json"]);
    expect(made.code).toBe(0);
    const { id } = JSON.parse(made.stdout);
    for (const args of [["freeze"], ["unfreeze"], ["revoke", id]]) {
      const done = await place.bare(["keys", ...args]);
      expect(done).toMatchObject({ code: 1, stdout: expect.stringMatching(/^(frozen|the freeze has ended|revoked)/) });
      expect(done.stderr).toContain(
        "gateway.yaml in this directory may not know of the change; repeat it with --config",
      );
    }
    expect(await place.json("keys", "list")).toMatchObject({ frozen: false });
    expect(daemon.exited).toBe(false);
  },
);
