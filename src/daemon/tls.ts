import { readFileSync } from "node:fs";
import type { Config } from "../config/schema.ts";
import { messageOf } from "../core/error-text.ts";

type Places = NonNullable<Config["listen"]["tls"]>;

/** The certificate and key that the daemon serves with until it is started again. */
export class Tls {
  readonly cert: string;
  readonly key: string;
  readonly #places: Places;

  constructor(places: Places) {
    this.#places = places;
    this.cert = textOf("cert", places.cert);
    this.key = textOf("key", places.key);
  }

  /** What is to be said of files that changed since; null when they are as they were. */
  outdated(): string | null {
    const { cert, key } = this.#places;
    if (holds(cert, this.cert) && holds(key, this.key)) return null;
    return "listen.tls: the certificate or key has changed since the start; a restart takes it over, a reload does not";
  }
}

function textOf(option: keyof Places, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new Error(`listen.tls.${option}: ${file}: ${messageOf(error)}`, { cause: error });
  }
}

function holds(file: string, text: string): boolean {
  try {
    return readFileSync(file, "utf8") === text;
  } catch {
    return false;
  }
}
