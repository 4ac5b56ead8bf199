import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tls } from "../../src/daemon/tls.ts";
import { Place } from "../support/daemon.ts";
import { isRoot, mayBecomeNobody } from "../support/processes.ts";
import { TempDir } from "../support/temp-dir.ts";
import { pick } from "../support/wire.ts";

// Each command is a process; on a busy machine that takes its time.
setDefaultTimeout(20_000);

test("a certificate or key that changes or goes after the start is told", () => {
  using at = new TempDir();
  const places = { cert: at.path("c.pem"), key: at.path("k.pem") };
  for (const file of [places.cert, places.key]) writeFileSync(file, "first");
  const tls = new Tls(places);
  expect([tls.cert, tls.key, tls.outdated()]).toEqual(["first", "first", null]);
  for (const file of [places.cert, places.key]) {
    writeFileSync(file, "second");
    expect(tls.outdated()).toContain("a restart takes it over");
    writeFileSync(file, "first");
    expect(tls.outdated()).toBeNull();
  }
  rmSync(places.key);
  expect(tls.outdated()).toContain("listen.tls");
});

test("a certificate or key that cannot be read is named with its option", () => {
  using at = new TempDir();
  writeFileSync(at.path("c.pem"), "a certificate");
  mkdirSync(at.path("d"));
  for (const [cert, key, named] of [
    ["d", "c.pem", `listen.tls.cert: ${at.path("d")}: EISDIR`],
    ["c.pem", "none", `listen.tls.key: ${at.path("none")}: ENOENT`],
  ] as const)
    expect(() => new Tls({ cert: at.path(cert), key: at.path(key) })).toThrow(named);
});

test("R17 a directory is no certificate, for config check and for the start of a daemon", async () => {
  using place = new Place({ listen: { tls: { cert: "d", key: "d" } } });
  mkdirSync(place.path("d"));
  for (const args of [["config", "check"], ["daemon"]]) {
    const { code, stderr } = await place.cli(args);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/tls.cert: is a directory\n.*tls.key: is a directory\n/)]);
  }
});

function certificate(place: Place): void {
  const files = ["-keyout", join(place.dir, "k.pem"), "-out", join(place.dir, "c.pem")];
  const made = Bun.spawnSync(
    ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"].concat(files, [
      "-subj",
      "/CN=localhost",
    ]),
    { stdout: "ignore", stderr: "ignore" },
  );
  expect(made.exitCode).toBe(0);
}

test.skipIf(Bun.which("openssl") === null)(
  "R17 a reload and status say that a renewed certificate takes a restart (needs openssl)",
  async () => {
    using place = new Place({ listen: { tls: { cert: "c.pem", key: "k.pem" } } });
    certificate(place);
    await using daemon = await place.start();
    const said = async (): Promise<boolean[]> => [
      JSON.stringify(pick(await place.json("config", "reload"), "warnings")).includes("listen.tls"),
      JSON.stringify(pick(await place.json("status"), "warnings")).includes("listen.tls"),
    ];
    expect(await said()).toEqual([false, false]);
    certificate(place);
    expect(await said()).toEqual([true, true]);
    await daemon.logged(({ msg }) => msg.startsWith("listen.tls"));
  },
);

test.skipIf(Bun.which("openssl") === null || (isRoot && !mayBecomeNobody))(
  "R17 a key that may not be read stops the start of a daemon and nothing else (needs openssl, and setpriv as root)",
  async () => {
    const stdio = { consumerId: "local", roles: ["user"] };
    const config = { listen: { tls: { cert: "c.pem", key: "k.pem" } }, auth: { stdio } };
    using place = new Place({ ...config, servers: [{ id: "calc", builtin: "calculator" }] });
    certificate(place);
    const key = place.path("k.pem");
    place.becomeNobody();
    if (isRoot) chownSync(key, 65534, 65534);
    {
      await using daemon = await place.start();
      chmodSync(key, 0);
      const reloaded = await place.json("config", "reload");
      expect(JSON.stringify(pick(reloaded, "warnings"))).toContain("a restart takes it over");
      for (const args of [
        ["servers", "disable", "calc"],
        ["config", "show"],
      ])
        expect(await place.cli(args)).toMatchObject({ code: 0 });
      expect(daemon.exited).toBe(false);
    }
    expect(await place.cli(["serve"])).toMatchObject({ code: 0 });
    for (const args of [["config", "check"], ["daemon"]]) {
      const { code, stderr } = await place.cli(args);
      expect([code, stderr]).toEqual([
        2,
        expect.stringMatching(/tls.key: uid \d+ may not read it .*let that user read/),
      ]);
    }
  },
);
