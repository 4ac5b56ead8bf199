import { readFileSync } from "node:fs";
import { type KeyPair, pairFaults } from "../config/key-pair.ts";
import { messageOf } from "../core/error-text.ts";

/** The certificate and key that the daemon serves with until it is started again. */
export class Tls {
  readonly cert: string;
  readonly key: string;
  readonly #files: KeyPair;

  constructor(files: KeyPair) {
    this.#files = files;
    const { cert, key } = readPair(files);
    this.cert = cert;
    this.key = key;
  }

  /** What is to be said of files that changed since; null when they are as they were. */
  outdated(): string | null {
    const changed = "listen.tls: the certificate or key has changed since the start; a restart";
    try {
      const { cert, key } = readPair(this.#files);
      return cert === this.cert && key === this.key ? null : `${changed} takes it over, a reload does not`;
    } catch (error) {
      return `${changed} would fail: ${messageOf(error)}`;
    }
  }
}

/** Throws where a daemon could not listen with what the files hold. */
function readPair(files: KeyPair): KeyPair {
  const pem = { cert: textOf("cert", files.cert), key: textOf("key", files.key) };
  const faults = pairFaults(pem, files).map(({ option, message }) => `listen.tls.${option}: ${message}`);
  if (faults.length > 0) throw new Error(faults.join("; "));
  return pem;
}

function textOf(option: keyof KeyPair, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new Error(`listen.tls.${option}: ${file}: ${messageOf(error)}`, { cause: error });
  }
}
