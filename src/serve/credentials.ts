import { isLoopback } from "../core/cidr.ts";
import type { Source } from "../core/principal.ts";

const forwarding = /^(via|forwarded|x-forwarded-.*|x-real-ip)$/;
const bearer = /^Bearer +(.*)$/i;

/** Returns the credentials in a request's headers; authentication decides whether they are valid or too many. */
export function credentialsOf(headers: Headers): string[] {
  const found: string[] = [];
  const authorization = headers.get("authorization");
  if (authorization !== null) found.push(bearer.exec(authorization)?.[1] ?? "");
  const key = headers.get("x-api-key");
  if (key !== null) found.push(key);
  return found;
}

/** Returns the source of a request. Forwarding headers mark it as forwarded; they never change its address. */
export function sourceOf(headers: Headers, ip: string): Source {
  return new RequestSource(headers, ip);
}

// This is a class because each object literal with a getter would have its own hidden class.
class RequestSource implements Source {
  readonly transport = "http";
  readonly ip: string;
  readonly #headers: Headers;

  constructor(headers: Headers, ip: string) {
    this.ip = ip;
    this.#headers = headers;
  }

  // `loopback` and `forwarded` are costly and rarely needed, so they are computed on demand.
  get loopback(): boolean {
    return isLoopback(this.ip);
  }

  get forwarded(): boolean {
    return [...this.#headers.keys()].some((name) => forwarding.test(name));
  }
}
