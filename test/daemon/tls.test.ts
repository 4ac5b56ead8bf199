import { expect, setDefaultTimeout, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tls } from "../../src/daemon/tls.ts";
import { Place } from "../support/daemon.ts";
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
