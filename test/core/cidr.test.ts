import { expect, test } from "bun:test";
import { compileCidr, isLoopback, normalizeAddress, peerKey } from "../../src/core/cidr.ts";

const rows: [cidr: string, ip: string, inside: boolean][] = [
  ["10.0.0.0/8", "10.255.0.1", true],
  ["10.0.0.0/8", "11.0.0.1", false],
  ["10.1.2.3", "10.1.2.3", true],
  ["10.1.2.3", "10.1.2.4", false],
  ["0.0.0.0/0", "203.0.113.9", true],
  ["0.0.0.0/0", "::1", false],
  ["::/0", "10.1.2.3", false],
  ["::/0", "::1", true],
  ["10.0.0.0/8", "::ffff:10.1.2.3", true],
  ["10.0.0.0/8", "::ffff:a01:203", true],
  ["2001:db8::/32", "2001:db8:1::9", true],
  ["2001:db8::/32", "2001:db9::9", false],
  ["1::3:4:5:6:7:8", "1:0:3:4:5:6:7:8", true],
  ["::1", "::1", true],
  ["fe80::/10", "fe80::1%eth0", true],
  ["10.0.0.0/8", "010.0.0.1", false],
  ["10.0.0.0/8", "10.0.0", false],
  ["10.0.0.0/8", "evil", false],
];

test.each(rows)("R37: %p contains %p: %p", (cidr, ip, inside) => {
  expect(compileCidr(cidr)?.(ip)).toBe(inside);
});

test.each([
  "10.0.0.0/33",
  "10.0.0/8",
  "::1/129",
  "1:2:3:4:5:6:7:8:9",
  "1::2::3",
  "1:2:3:4::5:6:7:8::9",
  "1:g::2",
  "host",
  "10.0.0.0/",
  "*",
  "",
])("R37: %p is not a network", (text) => expect(compileCidr(text)).toBeNull());

test.each([
  ["::ffff:127.0.0.1", "127.0.0.1"],
  ["::FFFF:a01:203", "10.1.2.3"],
  ["10.1.2.3", "10.1.2.3"],
  ["::1", "::1"],
  ["2001:db8::1", "2001:db8::1"],
  ["fe80::1%eth0", "fe80::1%eth0"],
  ["nowhere", "nowhere"],
])("the address %p is normalized to %p", (ip, plain) => expect(normalizeAddress(ip)).toBe(plain));

test("all addresses of an IPv6 /64 are one peer", () => {
  expect(peerKey("2001:db8::1")).toBe(peerKey("2001:db8::ffff:1"));
  expect(peerKey("2001:db8::1")).not.toBe(peerKey("2001:db8:0:1::1"));
  expect(peerKey("10.0.0.1")).not.toBe(peerKey("10.0.0.2"));
  expect(peerKey("::ffff:10.0.0.1")).toBe(peerKey("10.0.0.1"));
});

test.each([
  ["localhost", true],
  ["127.0.0.1", true],
  ["127.8.9.10", true],
  ["::1", true],
  ["0:0:0:0:0:0:0:1", true],
  ["::ffff:127.0.0.1", true],
  ["::ffff:7f00:1", true],
  ["::ffff:10.0.0.1", false],
  ["127.0.0.999", false],
  ["127.0.0.1.example", false],
  ["localhost.example", false],
  ["0.0.0.0", false],
  ["::", false],
  ["", false],
])("S31: %p certainly means this machine: %p", (host, expected) => expect(isLoopback(host)).toBe(expected));
