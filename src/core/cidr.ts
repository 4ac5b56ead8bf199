/** An address as a number, with the number of bits of its family. */
type Address = { readonly bits: 32 | 128; readonly value: bigint };

function parseV4(text: string): bigint | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!match) return null;
  let value = 0n;
  for (const part of match.slice(1)) {
    // A leading zero means octal to some programs and decimal to others.
    if (Number(part) > 255 || (part.length > 1 && part.startsWith("0"))) return null;
    value = (value << 8n) | BigInt(part);
  }
  return value;
}

function parseGroups(text: string): string[] | null {
  if (text === "") return [];
  const groups = text.split(":");
  return groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group)) ? groups : null;
}

function parseV6(text: string): bigint | null {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted) {
    const v4 = parseV4(dotted[2] ?? "");
    if (v4 === null) return null;
    return parseV6(`${dotted[1]}${(v4 >> 16n).toString(16)}:${(v4 & 0xffffn).toString(16)}`);
  }
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const head = parseGroups(halves[0] ?? "");
  const tail = parseGroups(halves[1] ?? "");
  if (!head || !tail) return null;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const groups = [...head, ...Array<string>(missing).fill("0"), ...tail];
  return groups.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}

/** Parses an IPv4 or IPv6 address; an IPv4-mapped one counts as the IPv4 address it carries, zone ids are dropped. */
function parseAddress(text: string): Address | null {
  const v4 = parseV4(text);
  if (v4 !== null) return { bits: 32, value: v4 };
  const v6 = parseV6(text.replace(/%[^%]*$/, ""));
  if (v6 === null) return null;
  return v6 >> 32n === 0xffffn ? { bits: 32, value: v6 & 0xffff_ffffn } : { bits: 128, value: v6 };
}

/** An address in the form that rules name: a listener for both families sees an IPv4 address as an IPv4-mapped one. */
export function plainAddress(ip: string): string {
  const address = ip.includes(":") ? parseAddress(ip) : null;
  if (address?.bits !== 32) return ip;
  return [24n, 16n, 8n, 0n].map((shift) => (address.value >> shift) & 255n).join(".");
}

/**
 * Returns a test of addresses against one network (`10.0.0.0/8`, `2001:db8::/32`, a single address); null if the text
 * is none.
 */
export function compileCidr(text: string): ((ip: string) => boolean) | null {
  const match = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text);
  const network = match ? parseAddress(match[1] ?? "") : null;
  if (!match || !network) return null;
  const length = match[2] === undefined ? network.bits : Number(match[2]);
  if (length > network.bits) return null;
  const shift = BigInt(network.bits - length);
  const prefix = network.value >> shift;
  return (ip) => {
    const address = parseAddress(ip);
    return address !== null && address.bits === network.bits && address.value >> shift === prefix;
  };
}

/**
 * The range of addresses that counts as one peer when it misbehaves: one IPv4 address, or the /64 that a single IPv6
 * host commands.
 */
export function peerKey(ip: string): string {
  const address = parseAddress(ip);
  if (!address || address.bits === 32) return ip;
  return `${(address.value >> 64n).toString(16)}::/64`;
}

const loopbacks = [compileCidr("127.0.0.0/8"), compileCidr("::1")];

/**
 * Whether an address or the host name `localhost` certainly means this machine. An IPv6 address comes without brackets.
 */
export function isLoopback(host: string): boolean {
  return host === "localhost" || loopbacks.some((holds) => holds?.(host));
}
