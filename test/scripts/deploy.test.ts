import { expect, test } from "bun:test";
import { join } from "node:path";
import { capture } from "../../scripts/lib/capture.ts";

const unit = join(import.meta.dir, "../../scripts/deploy/mcpgw.service");
const analyze = Bun.which("systemd-analyze");

async function run(...args: string[]): Promise<string> {
  const { out, err } = await capture([analyze ?? "", ...args], { env: { ...process.env, SYSTEMD_PAGER: "" } });
  return out + err;
}

test.skipIf(analyze === null)("T59: the unit's exposure is 3.2 at most (needs systemd-analyze)", async () => {
  const level = /Overall exposure level for mcpgw\.service: ([\d.]+)/.exec(
    await run("security", "--offline=true", unit),
  );
  expect(Number(level?.[1])).toBeLessThanOrEqual(3.2);
});

test.skipIf(analyze === null)("T59: systemd understands every line of the unit (needs systemd-analyze)", async () => {
  const complaints = (await run("verify", unit)).split("\n").filter((line) => line.includes("mcpgw.service"));
  // The program itself need not be installed where tests run.
  expect(complaints.filter((line) => !line.includes("/usr/local/bin/mcpgw is not executable"))).toEqual([]);
});

test("R122 the unit keeps what the daemon depends on", async () => {
  const settings = (await Bun.file(unit).text()).split("\n").filter((line) => /^[A-Z]/.test(line));
  const wanted = [
    "Type=notify",
    "Environment=BUN_CONFIG_MAX_HTTP_REQUESTS=16384",
    "Environment=UV_THREADPOOL_SIZE=256",
    "Environment=BUN_JSC_thresholdForJITAfterWarmUp=2000",
    "Environment=HOME=%S/mcpgw/home",
    "RuntimeDirectoryMode=2750",
    "StateDirectory=mcpgw mcpgw/home mcpgw-heads",
  ];
  expect(settings).toEqual(expect.arrayContaining(wanted));
  const harmful = ["MemoryDenyWriteExecute", "PrivateUsers", "ProtectProc", "ProcSubset"];
  expect(settings.filter((line) => harmful.some((name) => line.startsWith(`${name}=`)))).toEqual([]);
  const reload = settings.filter((line) => line.startsWith("ExecReload="));
  // The check has to see credentials, which systemd 252 hides from the first command. Not every system has /bin/kill.
  expect(reload).toEqual([
    "ExecReload=/bin/true",
    expect.stringContaining("config check"),
    "ExecReload=/bin/sh -c 'kill -HUP $MAINPID'",
  ]);
});
