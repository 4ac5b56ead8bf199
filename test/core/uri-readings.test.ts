import { describe, expect, test } from "bun:test";
import { compileUriGlob, readingsOf } from "../../src/core/uri-readings.ts";

const takes = (glob: string, uri: string): boolean | null => compileUriGlob(glob)(readingsOf(uri));

describe("S27: no spelling of a URI gets around a rule", () => {
  // Each is opened as /etc/passwd by some server that parses, decodes or resolves before it looks.
  const spelled = [
    "file:///etc/passwd",
    "file:///\tetc/passwd",
    "file:///e\ntc/passwd",
    "file:///%65tc/passwd",
    "file:///%2565tc/passwd",
    "file:////etc/passwd",
    "file:///\\etc/passwd",
    "file://localhost/etc/passwd",
    "file:/etc/passwd",
    "FILE:///etc/passwd",
    "file:///x/../etc/passwd",
    "file:///srv/../etc/passwd",
    "file:///srv/%2e%2e/etc/passwd",
    "file:///srv/..%2fetc/passwd",
    "file:///srv/..%5cetc/passwd",
    "file:///srv/%252e%252e/etc/passwd",
    "file:///srv/..;/etc/passwd",
    "file:///srv/%c0%ae%c0%ae/etc/passwd",
    "file:///srv/.\t./etc/passwd",
    "file:///srv/\t../etc/passwd",
    "file:///srv/..\t/..\t/etc/passwd",
    "file:///srv/.%\t2e/etc/passwd",
    "file:///srv/%2e%09%2e/etc/passwd",
    "file:///srv/%2525252525252e./etc/passwd",
  ];
  test.each(spelled)("%j is met by a denial", (uri) => {
    expect(takes("file:///etc/*", uri)).not.toBe(false);
  });
  test.each(spelled)("%j is not granted with another folder", (uri) => {
    expect(takes("file:///srv/*", uri)).not.toBe(true);
  });
  test("a query does not hide a file", () => {
    expect(takes("file:///etc/passwd", "file:///etc/passwd?x")).toBe(null);
    expect(takes("file:///etc/passwd", "file:///etc/passwd#x")).toBe(null);
  });
  test("a name is the same with escapes and without", () => {
    expect(takes("db://salaries*", "db://%73alaries")).toBe(null);
    expect(takes("file:///My%20Secret/*", "file:///My Secret/x")).toBe(null);
  });
});

describe("an honest URI is what it says", () => {
  test.each([
    ["file:///srv/*", "file:///srv/a.txt"],
    ["file:///srv/*", "file:///srv/My%20File%C3%A9.txt"],
    ["file:///srv/*", "file:///srv/My File é.txt"],
    ["file:///srv/*", "file:///srv/caf%E9"],
    ["file:///srv/*", "file:///srv/.env"],
    ["file:///srv/My%20File.txt", "file:///srv/My%20File.txt"],
    ["file:///srv/My File.txt", "file:///srv/My File.txt"],
    ["demo://Resource/*", "demo://Resource/1"],
    ["*Resource/1", "demo://Resource/1"],
    ["https://api.example/x?q=*", "https://api.example/x?q=a%26b"],
    ["weather://city?name=*", "weather://city?name=100%25"],
    ["urn:isbn:*", "urn:isbn:1"],
    ["notes", "notes"],
    ["*", "file:///srv/../x\n"],
  ])("%s grants %j", (glob, uri) => {
    expect(takes(glob, uri)).toBe(true);
  });
  test.each([
    ["file:///etc/*", "file:///srv/My%20File.txt"],
    ["*secret*", "file:///srv/My%20File.txt"],
    ["db://a", "db://b"],
  ])("%s has nothing to do with %j", (glob, uri) => {
    expect(takes(glob, uri)).toBe(false);
  });
  test("a long one is read to its end", () => {
    expect(takes(`file:///etc/${"x".repeat(300)}*`, `file:///srv/${"y".repeat(8000)}`)).toBe(false);
  });
});
