import { describe, expect, test } from "bun:test";
import { compileUriGlob, hasLongHost, readingsOf, readingsOfTemplate } from "../../src/core/uri-readings.ts";

const takes = (glob: string, uri: string): boolean | null => compileUriGlob(glob)(readingsOf(uri), null);

describe("S27: no spelling of a URI gets around a rule", () => {
  // Each is opened as /etc/passwd by some server that parses, decodes or resolves it first.
  const spelled = [
    "file:///etc/passwd",
    "file:///\tetc/passwd",
    "file:///e\ntc/passwd",
    "file:///%65tc/passwd",
    "file:///%2565tc/passwd",
    "file:////etc/passwd",
    "file:///\\etc/passwd",
    "file://localhost/etc/passwd",
    "file://x/etc/passwd",
    "file://etc/passwd",
    "file://*/etc/passwd",
    "file://me@x:80/etc/passwd",
    " file://me@x:80/etc/passwd",
    "file:\\\\x\\etc\\passwd",
    "file://%78/%65tc/passwd",
    "file:/etc/passwd",
    "FILE:///etc/passwd",
    "FILE://x:80/etc/passwd",
    "File://x y/etc/passwd",
    "file://x%2f/%65tc/passwd",
    "file://x%23/%65tc/passwd",
    "file://x%252f/%65tc/passwd",
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
  test.each(spelled)("a denial of the folder matches %j", (uri) => {
    expect(takes("file:///etc/*", uri)).not.toBe(false);
  });
  test.each(spelled)("a grant of another folder does not cover %j", (uri) => {
    expect(takes("file:///srv/*", uri)).not.toBe(true);
  });
  test("a space around the URI that only some programs drop does not hide a file", () => {
    for (const uri of ["file:///etc/passwd\u00a0", "\ufefffile:///etc/passwd"])
      expect([uri, takes("file:///etc/passwd", uri)]).toEqual([uri, null]);
  });
  test("S23: a host longer than any valid one is not parsed, which would take quadratic time, and may be any host", () => {
    const marked = (marks: number): string => `a${"\u0301\u0323".repeat(marks / 2)}`;
    for (const start of ["https://", "https:", "https:\\\\", "HTTPS:/\t/", "file://me@"])
      expect([start, takes("https://b/*", `${start}${marked(256)}/`)]).toEqual([start, null]);
    expect(takes("https://b/*", `https://${marked(254)}/`)).toBe(false);
    expect(takes("https://b/*", `https://b/${marked(256)}`)).toBe(true);
    for (const start of ["https://", "file://me@"])
      expect([start, takes("https://b/*", start + encodeURI(marked(256)))]).toEqual([start, null]);
    expect(takes("https://b/*", `https://${encodeURI(marked(254))}/`)).toBe(false);
    // Parsers drop these characters anywhere.
    expect(hasLongHost(`https://${encodeURI(marked(256)).replaceAll("%", "%\t\n\r")}`)).toBe(true);
  });
  test("a host beyond ASCII may be its ASCII form, but a grant covers only the spelling that it names", () => {
    const [letters, ascii] = ["https://www.müller.example/", "https://www.xn--mller-kva.example/"];
    for (const [glob, uri] of [
      [letters, ascii],
      [ascii, letters],
      [letters, ascii.replace("www.xn--", "me@www.XN--").replace("example/", "Example.:443/")],
      ["https://*.müller.example/", ascii],
      ["https://*.xn--mller-kva.example/", letters],
    ] as const) {
      expect([glob, uri, takes(`${glob}*`, `${uri}a`)]).toEqual([glob, uri, null]);
      expect(compileUriGlob(`${glob}*`)(readingsOfTemplate(`${uri}{x}`), `${uri}{x}`)).toBe(null);
    }
    for (const uri of [letters, ascii, letters.replace("example", "example:8080"), "redis://xn--mller-kva:80/"]) {
      expect(takes(`${uri}*`, `${uri}a`)).toBe(true);
      expect(takes(uri.replace("www", "*"), uri)).toBe(true);
      expect(takes(uri.replace("example", "*"), uri)).toBe(true);
    }
    // A part that is not such a spelling, or that has a wildcard, has no other spelling.
    for (const uri of ["https://xn--/a", "https://xn--\u00fc/a", "https://10.0.0.12/a"])
      expect(takes(uri, uri)).toBe(true);
    expect(takes("https://10.0.0.1*/a", "https://10.0.0.12/a")).toBe(true);
    expect(takes("https://m?ller.example/a", "https://müller.example/a")).not.toBe(false);
  });
  test("each label of a host beyond ASCII may be spelled either way, in a URI and in a rule", () => {
    const parts = ["m\u00fcller", "xn--mller-kva"];
    const hosts = parts.flatMap((first) => parts.map((second) => `${first}.${second}.example`));
    for (const scheme of ["https", "git"])
      for (const rest of [":8080/", "/"])
        for (const glob of hosts)
          for (const host of hosts) {
            const [rule, uri] = [`${scheme}://${glob}${rest}*`, `${scheme}://${host}${rest}a`];
            expect([rule, uri, takes(rule, uri)]).not.toEqual([rule, uri, false]);
            expect(compileUriGlob(rule)(readingsOfTemplate(`${uri}{x}`), `${uri}{x}`)).not.toBe(false);
            if (glob === host && scheme === "git") expect([rule, takes(rule, uri)]).toEqual([rule, true]);
          }
    for (const [rule, uri] of [
      ["git://api-?.xn--mller-kva.example/*", "git://api-1.m\u00fcller.example/a"],
      ["*://XN--MLLER-KVA.example/*", "jdbc:redis://xn--mller-kva.example/a"],
      ["*://xn--mller-kva.example/a%20b", "jdbc:redis://xn--mller-kva.example/a b"],
    ] as const)
      expect([rule, uri, takes(rule, uri)]).toEqual([rule, uri, null]);
    // A different port is a different server.
    expect(takes("git://m\u00fcller:80/*", "git://xn--mller-kva:81/a")).toBe(false);
  });
  test("letters in an authority that no web parser reads as a host are granted by any glob that matches them", () => {
    for (const [glob, uri] of [
      ["notes://会議*", "notes://会議-1"],
      ["notes://team-*", "notes://team-müller"],
      ["notes:/*-1/a", "notes:/é-1/a"],
      ["notes://Ü*", "notes://Übersicht"],
    ] as const)
      expect([glob, uri, takes(glob, uri)]).toEqual([glob, uri, true]);
    expect(
      compileUriGlob("notes://team-*")(readingsOfTemplate("notes://team-müller/{x}"), "notes://team-müller/{x}"),
    ).toBe(true);
    // Some programs fetch from it all the same.
    const mixed = "redis://xn--mller-kva.bücher.example/";
    for (const glob of ["redis://müller.bücher.example/", "redis://xn--mller-kva.xn--bcher-kva.example/"])
      expect([glob, takes(`${glob}*`, `${mixed}1`)]).toEqual([glob, null]);
  });
  test("a query does not hide a file", () => {
    expect(takes("file:///etc/passwd", "file:///etc/passwd?x")).toBe(null);
    expect(takes("file:///etc/passwd", "file:///etc/passwd#x")).toBe(null);
  });
  test("a fragment does not hide its resource, and a rule that names the fragment still grants it", () => {
    for (const fragment of ["#f", "%23f", "#/x", "#"]) {
      expect(takes("db://h/x", `db://h/x${fragment}`)).toBe(null);
      expect(takes("db://h/y", `db://h/x${fragment}`)).toBe(false);
      expect(takes("db://h/*", `DB://u@H:1/x${fragment}`)).not.toBe(false);
    }
    for (const glob of ["db://h/x#f", "db://h/x#*", "db://h/*"]) expect(takes(glob, "db://h/x#f")).toBe(true);
    for (const uri of ["db:/h/x#f", "db:///h/x#f"]) expect([uri, takes(uri, uri)]).toEqual([uri, true]);
    expect(takes("db://h/x#f", "db://h/x")).toBe(false);
    expect(takes("file:///srv/a#f", "file:///srv/a#f")).toBe(null);
  });
  test("a grant of a file share by its host also covers the share as a folder", () => {
    for (const glob of ["file://box/srv/*", "file://*/srv/*", "file://b*"])
      expect([glob, takes(glob, "file://box/srv/a")]).toEqual([glob, true]);
    for (const share of ["file://Box", "FILE://box", "file://box:445", "file://me@box"])
      expect([share, takes(`${share}/srv/*`, `${share}/srv/a`)]).toEqual([share, true]);
    expect(takes("file://box/srv/*", "file:///box/srv/a")).toBe(false);
  });
  test.each(["/", "//", "%2f", "\\", "/?x", "/#"])("%j at the end does not hide a file", (end) => {
    for (const glob of ["file:///etc/passwd", "*/passwd", "file:///*wd"])
      expect([glob, takes(glob, `file:///etc/passwd${end}`)]).toEqual([glob, null]);
    expect(takes("file:///etc/passwd", `file://x/etc/passwd${end}`)).toBe(null);
    expect(takes("file:///etc/group", `file:///etc/passwd${end}`)).toBe(false);
  });
  test("a grant of files below folders does not cover files next to the folders", () => {
    for (const uri of ["file:///srv//a.txt", "file:///srv/a.txt?/x", "file:///srv/a.txt#/x", "file://srv//a.txt"])
      expect([uri, takes("file:///srv/*/*", uri) || takes("file://srv/*/*", uri)]).not.toEqual([uri, true]);
    expect(takes("file:///srv/*/", "file:///srv/a.txt?/")).toBe(null);
    expect(takes("file:///srv/*/*", "file:///srv//")).toBe(null);
    expect(takes("file:///srv/app.log?", "file:///srv/app.log/")).toBe(null);
  });
  test("a template of file URIs may include a host", () => {
    const meets = (template: string) => compileUriGlob("file:///etc/*")(readingsOfTemplate(template), template);
    for (const template of ["file://x/etc/{name}", "file://x{y}/etc/{name}", "file://x{+path}"])
      expect([template, meets(template)]).toEqual([template, null]);
    expect(meets("file://x/srv/{name}")).toBe(false);
  });
  test("a name is the same with and without escapes", () => {
    expect(takes("db://salaries*", "db://%73alaries")).toBe(null);
    expect(takes("file:///My%20Secret/*", "file:///My Secret/x")).toBe(null);
  });
});

describe("S27: no spelling that a server may read as a path starting at the authority gets around a rule", () => {
  const spelled = [
    "notes://private/1",
    "notes:///private/1",
    "notes:/private/1",
    "notes:////private/1",
    "notes://./private/1",
    "notes://../private/1",
    "notes://public/../private/1",
    "notes://public/a/../../private/1",
    "notes://public//../private/1",
    "notes://public/./../private/1",
    "notes://public/%2e%2e/private/1",
    "notes://public/..\\private/1",
    "notes://public\\..\\private/1",
    "notes://public/..;x/private/1",
    "notes://public%2f..%2fprivate/1",
    "notes:///public/../private/1",
    "notes://PRIVATE/1",
    "notes://%50rivate/1",
    "notes://x@private/1",
    "notes://x:y@private/1",
    "notes://public@private/1",
    "notes://private:80/1",
    "notes://private./1",
    "notes://x@private.:80/1",
    "notes://x@Private:80/1",
    "NOTES://private%2f1",
    "NOTES://private:99999/1",
    "notes://public%2f@private/1",
    "notes://public%2f@%70rivate/1",
    "notes://public%252f@private:80/1",
    "notes://public%23@private/1",
    "notes://public%3f@private/1",
    "notes://public\\@private/1",
  ];
  test.each(spelled)("a denial of the folder matches %j", (uri) => {
    for (const glob of ["notes://private/*", "notes://Private/*"]) expect(takes(glob, uri)).not.toBe(false);
  });
  test.each(spelled)("a grant of another folder does not cover %j", (uri) => {
    for (const glob of ["notes://public/*", "notes://public*"]) expect(takes(glob, uri)).not.toBe(true);
  });
  test("a file's root is above every file", () => {
    for (const uri of ["file://../../etc/passwd", "file://./etc/passwd", "file://srv/../etc/passwd"])
      expect(takes("file:///etc/*", uri)).toBe(null);
    expect(takes("file:///*", "file:///srv/../../x")).toBe(true);
  });
  test("a template is matched like its URIs", () => {
    const meets = (glob: string, template: string) => compileUriGlob(glob)(readingsOfTemplate(template), template);
    for (const template of ["notes://PRIVATE/{id}", "notes:///private/{id}", "notes://x@private:80/{+id}"])
      expect(meets("notes://private/*", template)).toBe(null);
    expect(meets("notes://private/*", "notes://{folder}/{+id}")).toBe(null);
    expect(meets("notes://Public/*", "notes://Public/{+id}")).toBe(true);
    expect(meets("notes://private/*", "notes://public/{+id}")).toBe(false);
  });
  test("a glob's open scheme is not searched for in the values of a template's variables", () => {
    const meets = (glob: string, template: string) => compileUriGlob(glob)(readingsOfTemplate(template), template);
    expect(meets("*://secret/*", "m://ok/{id}")).toBe(false);
    expect(meets("*://ok/*", "m://ok/{id}")).toBe(true);
    for (const template of ["m://{folder}/{id}", "web://ok/{+url}", "{scheme}://ok/{id}", "m:ok/{id}"])
      expect([template, meets("*://secret/*", template)]).toEqual([template, null]);
    expect(meets("*secret*", "m://ok/{id}")).toBe(null);
    expect(takes("*://secret/*", "m://ok/x://secret/1")).toBe(null);
  });
});

describe("an ordinary URI matches only the rules that name it", () => {
  test.each([
    ["https://host/a", 1],
    ["https://host:8080/a", 2],
    ["file:///x", 1],
    ["file:///srv/My%20File.txt", 2],
    ["notes://public/1", 1],
    ["notes:///public/1", 2],
    ["demo://Resource/1", 2],
    ["urn:isbn:1", 1],
    ["user@host:80", 1],
  ])("%s has %d readings", (uri, count) => {
    expect(readingsOf(uri)).toHaveLength(count);
  });
  test.each([
    ["file:///srv/*", "file:///srv/a.txt"],
    ["file:///srv/*", "file:///srv/My%20File%C3%A9.txt"],
    ["file:///srv/*", "file:///srv/My File é.txt"],
    ["file:///srv/*", "file:///srv/caf%E9"],
    ["file:///srv/*", "file:///srv/.env"],
    ["file:///srv/My%20File.txt", "file:///srv/My%20File.txt"],
    ["file:///srv/My File.txt", "file:///srv/My File.txt"],
    ["file:///srv/*", "file:///srv/"],
    ["file:///srv/*", "file:///srv/a/"],
    ["file:///srv/**", "file:///srv/"],
    ["file:///srv/*/*", "file:///srv/a/"],
    ["file:///srv/a/", "file:///srv/a/"],
    ["file:///C:/*", "file:///C:/"],
    ["*/a/*", "file:///srv/a/"],
    ["file://host/srv/*", "file://host/srv/"],
    ["file://host/*", "file://host/"],
    ["file:///*", "file:///"],
    ["demo://Resource/*", "demo://Resource/1"],
    ["*Resource/1", "demo://Resource/1"],
    ["*Resource/*", "demo://Resource/My%20File"],
    ["file://host/share/*", "file://host/share/a.txt"],
    ["file://Host/share/a.txt", "file://Host/share/a.txt"],
    ["file://hos?/share/*", "file://host/share/a.txt"],
    ["file://h*/share/*", "file://host/share/a.txt"],
    ["file://*", "file://host/share/a.txt"],
    ["https://host./*", "https://host./a"],
    ["https://host:8080/*", "https://host:8080/a"],
    ["https://*:8080/*", "https://host:8080/a"],
    ["https://host:*", "https://host:8080/a"],
    ["https://host:80*", "https://host:8080/a"],
    ["screen://localhost:*", "screen://localhost:0"],
    ["postgres://*@host:*/*", "postgres://me:secret@host:5432/db"],
    ["notes:///Public/*", "notes:///Public/1"],
    ["notes:///*", "notes:///h:80/1"],
    ["ftp://me@host/*", "ftp://me@host/a"],
    ["*:///x/*", "demo:///x/1"],
    ["notes://public/*", "notes://public/a/../b"],
    ["https://host/*", "https://host/a/./b"],
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
    ["file://host/*", "file:///srv/a"],
    ["db://a", "db://b"],
    ["https://host:8080/*", "https://host:9090/a"],
    ["https://host:8080/*", "https://host/a"],
    ["notes://private/*", "notes://public/private/1"],
    ["notes://private/*", "notes://public/a/../private/1"],
    ["notes://private/A*", "notes://private/a1"],
    ["notes:///*", "notes://public/1"],
  ])("%s has nothing to do with %j", (glob, uri) => {
    expect(takes(glob, uri)).toBe(false);
  });
  test("a long URI is compared to its end", () => {
    expect(takes(`file:///etc/${"x".repeat(300)}*`, `file:///srv/${"y".repeat(8000)}`)).toBe(false);
  });
});
