import { closeSync, readSync, statSync } from "node:fs";
import { type KeyPair, pairFaults } from "../config/key-pair.ts";
import { codeOf, messageOf } from "../core/error-text.ts";
import { openAtOnce } from "../core/files.ts";

/** The certificate and key that the daemon uses until it restarts. */
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

  /** Returns a warning if the files have changed since the start; null if they have not. */
  outdated(): string | null {
    const changed = "listen.tls: the certificate or key has changed since the start; a restart";
    try {
      if (!isKept(this.#files)) return null;
      const { cert, key } = readPair(this.#files);
      return cert === this.cert && key === this.key ? null : `${changed} applies it, a reload does not`;
    } catch (error) {
      return `${changed} would fail: ${messageOf(error)}`;
    }
  }
}

/** Reports whether both files can be read again; a pipe can be read only once. */
const isKept = ({ cert, key }: KeyPair): boolean =>
  [cert, key].every((file) => statSync(file, { throwIfNoEntry: false })?.isFIFO() !== true);

/** Reads the files. Throws if a daemon could not listen with their contents. */
function readPair(files: KeyPair): KeyPair {
  const pem = { cert: textOf("cert", files.cert), key: textOf("key", files.key) };
  const faults = pairFaults(pem, files).map(({ option, message }) => `listen.tls.${option}: ${message}`);
  if (faults.length > 0) throw new Error(faults.join("; "));
  return pem;
}

function textOf(option: keyof KeyPair, file: string): string {
  try {
    return readToEnd(file).toString();
  } catch (error) {
    throw new Error(`listen.tls.${option}: ${file}: ${messageOf(error)}`, { cause: error });
  }
}

/** Timeout for the writers of a pipe, and the polling interval, ms. */
const [patience, pause] = [5_000, 20];

/** Returns the contents of a file, or of a pipe until its writers close it; empty if the pipe has no writer. */
function readToEnd(file: string): Buffer {
  const fd = openAtOnce(file);
  try {
    const parts: Buffer[] = [];
    for (const end = performance.now() + patience; ;) {
      const part = nextPart(fd);
      if (part?.length === 0) return Buffer.concat(parts);
      if (part) parts.push(part);
      else if (performance.now() < end) Bun.sleepSync(pause);
      else throw new Error(`its writer did not close it within ${patience / 1_000} s`);
    }
  } finally {
    closeSync(fd);
  }
}

/** Reads the next part: empty at the end, null if a pipe has no data yet. */
function nextPart(fd: number): Buffer | null {
  const part = Buffer.alloc(65_536);
  try {
    return part.subarray(0, readSync(fd, part));
  } catch (error) {
    if (codeOf(error) === "EAGAIN") return null;
    throw error;
  }
}
