import { expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { commitmentTo } from "../../src/audit/chain.ts";
import { pairFaults } from "../../src/config/key-pair.ts";
import { Tls } from "../../src/daemon/tls.ts";
import { certificate, hasOpenssl, openssl, p256 } from "../support/certificate.ts";
import { daemonCommand, Place } from "../support/daemon.ts";
import { isRoot, canBecomeNobody } from "../support/processes.ts";
import { TempDir } from "../support/temp-dir.ts";
import { pick } from "../support/wire.ts";

// Each command is a process, which is slow on a busy machine.
setDefaultTimeout(30_000);

test("R17 config check and the start of a daemon refuse a directory as a certificate", async () => {
  using place = new Place({ listen: { tls: { cert: "d", key: "d" } } });
  mkdirSync(place.path("d"));
  for (const args of [["config", "check"], ["daemon"]]) {
    const { code, stderr } = await place.cli(args);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/tls.cert: is a directory\n.*tls.key: is a directory\n/)]);
  }
});

test.skipIf(!hasOpenssl)(
  "a certificate or key that changes or disappears after the start is reported (needs openssl)",
  () => {
    using at = new TempDir();
    const places = { cert: at.path("c.pem"), key: at.path("k.pem") };
    const pair = () => [places.cert, places.key].map((file) => readFileSync(file, "utf8"));
    const write = (texts: readonly string[]): void =>
      [places.cert, places.key].forEach((file, index) => writeFileSync(file, texts[index] ?? ""));
    certificate(at);
    const [cert = "", key = ""] = pair();
    const tls = new Tls(places);
    expect([tls.cert, tls.key, tls.outdated()]).toEqual([cert, key, null]);
    certificate(at);
    const [nextCert = "", nextKey = ""] = pair();
    expect(tls.outdated()).toContain("a restart applies it");
    write([nextCert, key]);
    expect(tls.outdated()).toContain(`a restart would fail: listen.tls.key: ${places.key}: is not the private key of`);
    write([cert, nextKey]);
    expect(tls.outdated()).toContain("a restart would fail: listen.tls.key");
    write(["garbage", key]);
    expect(tls.outdated()).toContain(`a restart would fail: listen.tls.cert: ${places.cert}`);
    write([cert, key]);
    expect(tls.outdated()).toBeNull();
    rmSync(places.key);
    expect(tls.outdated()).toContain("a restart would fail: listen.tls.key");
    symlinkSync(places.key, places.key);
    expect(tls.outdated()).toContain("a restart would fail: ");
  },
);

test("a certificate or key that is unreadable or invalid is named with its option", () => {
  using at = new TempDir();
  writeFileSync(at.path("c.pem"), "a certificate");
  mkdirSync(at.path("d"));
  for (const [cert, key, named] of [
    ["d", "c.pem", `listen.tls.cert: ${at.path("d")}: EISDIR`],
    ["c.pem", "none", `listen.tls.key: ${at.path("none")}: ENOENT`],
    ["c.pem", "c.pem", `listen.tls.cert: ${at.path("c.pem")}: is not a certificate chain`],
    ["c.pem", "c.pem", `listen.tls.key: ${at.path("c.pem")}: is not a usable private key`],
  ] as const)
    expect(() => new Tls({ cert: at.path(cert), key: at.path(key) })).toThrow(named);
});

const kinds = { ec: p256, other: p256, rsa: ["rsa:2048"], ed: ["ed25519"], unknown: ["ed448"] };

/** The certificate and key files of each pair, and the option that makes it unusable; null if it is usable. */
const offered: readonly (readonly [cert: string, key: string, fault: "cert" | "key" | null])[] = [
  ["ec.crt", "ec.key", null],
  ["rsa.crt", "rsa.key", null],
  ["ed.crt", "ed.key", null],
  ["rsa.crt", "pkcs1.key", null],
  ["chain.crt", "ec.key", null],
  ["both.pem", "both.pem", null],
  ["other.crt", "ec.key", "key"],
  ["ec.crt", "rsa.key", "key"],
  ["turned.crt", "ec.key", "key"],
  ["torn.crt", "ec.key", "cert"],
  ["ec.crt", "encrypted.key", "key"],
  ["rsa.crt", "encrypted-pkcs1.key", "key"],
  ["unknown.crt", "unknown.key", "key"],
  ["der.crt", "ec.key", "cert"],
  ["ec.key", "ec.key", "cert"],
  ["ec.crt", "ec.crt", "key"],
  ["empty", "ec.key", "cert"],
  ["ec.crt", "empty", "key"],
];

function pairs(at: TempDir): void {
  const read = (name: string): string => readFileSync(at.path(name), "utf8");
  for (const [name, kind] of Object.entries(kinds)) certificate(at, kind, [`${name}.crt`, `${name}.key`]);
  openssl(at, "pkey", "-in", "rsa.key", "-traditional", "-out", "pkcs1.key");
  openssl(at, "pkey", "-in", "ec.key", "-aes128", "-passout", "pass:word", "-out", "encrypted.key");
  const locked = ["-traditional", "-aes128", "-passout", "pass:word", "-out", "encrypted-pkcs1.key"];
  openssl(at, "pkey", "-in", "rsa.key", ...locked);
  openssl(at, "x509", "-in", "ec.crt", "-outform", "der", "-out", "der.crt");
  for (const [name, text] of Object.entries({
    "chain.crt": read("ec.crt") + read("rsa.crt"),
    "turned.crt": read("rsa.crt") + read("ec.crt"),
    "torn.crt": `${read("ec.crt")}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
    "both.pem": read("ec.key") + read("ec.crt"),
    empty: "",
  }))
    writeFileSync(at.path(name), text);
}

test.skipIf(!hasOpenssl)("exactly the pairs that a server cannot listen with are refused (needs openssl)", () => {
  using at = new TempDir();
  pairs(at);
  const listens = (pem: { cert: string; key: string }): boolean => {
    try {
      void Bun.serve({ hostname: "127.0.0.1", port: 0, tls: pem, fetch: () => new Response() }).stop(true);
      return true;
    } catch {
      return false;
    }
  };
  for (const [certName, keyName, expected] of offered) {
    const files = { cert: at.path(certName), key: at.path(keyName) };
    const pem = { cert: readFileSync(files.cert, "utf8"), key: readFileSync(files.key, "utf8") };
    const faults = pairFaults(pem, files);
    const told = expected === null ? [] : [{ option: expected, message: expect.stringContaining(files[expected]) }];
    expect([certName, keyName, listens(pem), faults]).toEqual([certName, keyName, expected === null, told]);
    // OpenSSL errors of the check must not affect the next call's record.
    expect(commitmentTo(new Uint8Array(32), "a call")).toHaveLength(43);
    if (keyName.startsWith("encrypted")) expect(faults[0]?.message).toContain("openssl pkey -in FILE -out NEW");
  }
});

test.skipIf(!hasOpenssl)(
  "R17 config check and the start name a certificate or key that a gateway cannot listen with (needs openssl)",
  async () => {
    using place = new Place({ listen: { tls: { cert: "c.pem", key: "k.pem" } } });
    const [cert, key] = [place.path("c.pem"), place.path("k.pem")];
    const refused = async (...said: readonly string[]): Promise<void> => {
      for (const args of [["config", "check"], ["daemon"]]) {
        const { code, stderr } = await place.cli(args);
        expect(code).toBe(2);
        for (const text of said) expect(stderr).toContain(text);
      }
    };
    certificate(place);
    expect(await place.cli(["config", "check"])).toMatchObject({ code: 0 });
    const old = readFileSync(key);
    certificate(place);
    writeFileSync(key, old);
    await refused(`listen.tls.key: ${key}: is not the private key of the certificate that comes first in ${cert}`);
    for (const file of [cert, key]) writeFileSync(file, "garbage");
    await refused(
      `listen.tls.cert: ${cert}: is not a certificate chain`,
      `listen.tls.key: ${key}: is not a usable private key`,
    );
  },
);

test.skipIf(!hasOpenssl)(
  "R17 a reload and status say that a renewed certificate needs a restart (needs openssl)",
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
    await daemon.logged(({ msg }) => msg.endsWith("a restart applies it, a reload does not"));
    writeFileSync(place.path("k.pem"), "garbage");
    expect(await said()).toEqual([true, true]);
    await daemon.logged(({ msg }) => msg.includes("a restart would fail: listen.tls.key: "));
  },
);

test.skipIf(!hasOpenssl || (isRoot && !canBecomeNobody))(
  "R17 an unreadable key prevents the start of a daemon and nothing else (needs openssl, and setpriv as root)",
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
      expect(JSON.stringify(pick(reloaded, "warnings"))).toContain("a restart would fail");
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

test.skipIf(!hasOpenssl)(
  "R17 a key from a named pipe is read once, and a pipe without a writer does not block (needs openssl)",
  async () => {
    using place = new Place({ listen: { tls: { cert: "c.pem", key: "pipe" } } });
    certificate(place);
    const pipe = place.path("pipe");
    Bun.spawnSync(["mkfifo", pipe]);
    // Written data stays in the pipe while a reader is open.
    const kept = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
    writeFileSync(pipe, readFileSync(place.path("k.pem")));
    {
      await using _daemon = await place.start();
      closeSync(kept);
      for (const args of [["status"], ["config", "reload"]])
        expect(JSON.stringify(pick(await place.json(...args), "warnings"))).not.toContain("listen.tls");
    }
    const { code, stderr } = await place.cli(daemonCommand);
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining(`listen.tls.key: ${pipe}: is not a usable private key`),
    ]);
  },
);
