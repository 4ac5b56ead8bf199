import { readFileSync } from "node:fs";
import type { Config } from "../config/schema.ts";

type Places = NonNullable<Config["listen"]["tls"]>;

/** The certificate and key that the daemon serves with until it is started again. */
export class Tls {
  readonly cert: string;
  readonly key: string;
  readonly #places: Places;

  constructor(places: Places) {
    this.#places = places;
    this.cert = readFileSync(places.cert, "utf8");
    this.key = readFileSync(places.key, "utf8");
  }

  /** What is to be said of files that changed since; null when they are as they were. */
  outdated(): string | null {
    const { cert, key } = this.#places;
    if (holds(cert, this.cert) && holds(key, this.key)) return null;
    return "listen.tls: the certificate or key has changed since the start; a restart takes it over, a reload does not";
  }
}

function holds(file: string, text: string): boolean {
  try {
    return readFileSync(file, "utf8") === text;
  } catch {
    return false;
  }
}
