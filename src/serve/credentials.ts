import { isLoopback } from "../core/cidr.ts";
import type { Source } from "../core/principal.ts";

const forwarding = /^(via|forwarded|x-forwarded-.*|x-real-ip)$/;
const bearer = /^Bearer +(.*)$/i;

/** The credentials in a request's headers. Whether they are valid, or too many, is for authentication to decide. */
export function credentialsOf(headers: Headers): string[] {
  const found: string[] = [];
  const authorization = headers.get("authorization");
  if (authorization !== null) found.push(bearer.exec(authorization)?.[1] ?? "");
  const key = headers.get("x-api-key");
  if (key !== null) found.push(key);
  return found;
}

/** The source of a request. Forwarding headers only mark it; they never change its address. */
export function sourceOf(headers: Headers, ip: string): Source {
  return new RequestSource(headers, ip);
}

// A class, because each object literal with a getter would have a hidden class of its own.
class RequestSource implements Source {
  readonly transport = "http";
  readonly ip: string;
  readonly #headers: Headers;

  constructor(headers: Headers, ip: string) {
    this.ip = ip;
    this.#headers = headers;
  }

  // Computed on demand: few ask for these two, and computing them costs time.
  get loopback(): boolean {
    return isLoopback(this.ip);
  }

  get forwarded(): boolean {
    return [...this.#headers.keys()].some((name) => forwarding.test(name));
  }
}
