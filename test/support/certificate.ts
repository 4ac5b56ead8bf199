import { expect } from "bun:test";

export const hasOpenssl = Bun.which("openssl") !== null;

/** Runs openssl in the directory. */
export function openssl(at: { readonly dir: string }, ...args: readonly string[]): void {
  const made = Bun.spawnSync(["openssl", ...args], { cwd: at.dir, stdout: "ignore", stderr: "ignore" });
  expect(made.exitCode).toBe(0);
}

export const p256 = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

/** Creates a key and a self-signed certificate for localhost, in these files of the directory. */
export function certificate(at: { readonly dir: string }, kind = p256, [cert, key] = ["c.pem", "k.pem"]): void {
  openssl(at, "req", "-x509", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=localhost", "-newkey", ...kind);
}
