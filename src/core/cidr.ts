import { BlockList, isIP } from "node:net";

/** Returns the eight groups of an IPv6 address in hexadecimal, without leading zeros or zone id. */
function groupsOf(ip: string): string[] {
  // A URL shortens an address as in RFC 5952, with an embedded IPv4 address as two groups.
  const { hostname } = new URL(`http://[${ip.replace(/%.*$/, "")}]`);
  const [head = [], tail] = hostname
    .slice(1, -1)
    .split("::")
    .map((half) => half.split(":").filter((group) => group !== ""));
  return tail ? [...head, ...Array<string>(8 - head.length - tail.length).fill("0"), ...tail] : head;
}

/** Normalizes an address to the form used in rules: a dual-stack listener sees an IPv4 address as IPv4-mapped IPv6. */
export function normalizeAddress(ip: string): string {
  if (isIP(ip) !== 6) return ip;
  const groups = groupsOf(ip);
  if (groups.slice(0, 6).join() !== "0,0,0,0,0,ffff") return ip;
  return groups
    .slice(6)
    .map((group) => Number.parseInt(group, 16))
    .map((bits) => `${bits >> 8}.${bits & 255}`)
    .join(".");
}

/**
 * Returns a test for addresses of a network (`10.0.0.0/8`, `2001:db8::/32`, a single address); null if the text is not
 * a network. An IPv4-mapped address counts as its IPv4 address.
 */
export function compileCidr(text: string): ((ip: string) => boolean) | null {
  const [, address = "", length] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const network = normalizeAddress(address);
  const version = isIP(network);
  const bits = version === 6 ? 128 : 32;
  const prefix = length === undefined ? bits : Number(length);
  if (version === 0 || prefix > bits) return null;
  const list = new BlockList();
  list.addSubnet(network, prefix, version === 6 ? "ipv6" : "ipv4");
  return (ip) => {
    const plain = normalizeAddress(ip);
    // Without this check, an IPv6 network such as `::/0` would contain all of IPv4 as well.
    return isIP(plain) === version && list.check(plain, version === 6 ? "ipv6" : "ipv4");
  };
}

/**
 * Returns the address range that counts as one peer when it misbehaves: one IPv4 address, or the /64 that a single IPv6
 * host controls.
 */
export function peerKey(ip: string): string {
  const plain = normalizeAddress(ip);
  return isIP(plain) === 6 ? `${groupsOf(plain).slice(0, 4).join(":")}::/64` : plain;
}

const loopbacks = [compileCidr("127.0.0.0/8"), compileCidr("::1")];

/** Reports whether an IP address (IPv6 without brackets) or the name `localhost` is certain to mean this machine. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || loopbacks.some((holds) => holds?.(host));
}
