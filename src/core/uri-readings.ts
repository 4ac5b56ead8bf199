import { domainToASCII, domainToUnicode } from "node:url";
import { orNull } from "./attempt.ts";
import { covers, type GlobTokens, globTokens, literalTokens, overlap } from "./glob.ts";
import { readTemplate } from "./uri-template.ts";

/** Everything that a URI may mean: first as written, then as others may read it. */
export type Readings = readonly [GlobTokens, ...GlobTokens[]];

// A URI that is encoded more often is meant to be misread.
const maxDecodings = 3;
const anything = globTokens("*");
const [anyOne] = globTokens("?");

const dotSegment = /(?:^|[/\\:;])\.{1,2}(?:[/\\?#;]|$)/;
/** Escapes of overlong UTF-8 (RFC 3629 §3), which a lax decoder reads as ASCII. */
const overlong = /%c[01]|%e0%[89]|%f0%8/i;
const control = /\p{Cc}/u;

/**
 * Returns the ways in which servers may read a URI:
 * - as written, decoded, without a fragment, and as the WHATWG URL parser and file systems read it;
 * - with scheme and authority in lower case, without user and port, with an ASCII host in the letters that it encodes;
 * - with the host as the first folder of the path, and a file without its host or without a slash at its end.
 * If one of these has a segment `.` or `..`, servers differ, so it may mean anything below the authority; if the
 * segments lead out of the authority, anything below the scheme. A rule allows a URI only if it matches every reading,
 * and denies it if it matches one.
 */
export function readingsOf(uri: string): Readings {
  const forms = formsOf(uri);
  if (!forms) return [literalTokens(uri), anything];
  const others = [...forms].filter((form) => form !== uri).map(literalTokens);
  const below = [...forms].some((form) => dotSegment.test(form)) ? [...forms].map(allBelow) : [];
  return [literalTokens(uri), ...others, ...below];
}

/** Returns the readings of all URIs that a template can produce, as far as its literal text tells. */
export function readingsOfTemplate(template: string): Readings {
  const { tokens } = readTemplate(template);
  const written = tokens.join("");
  const compared = lowered(joined(written));
  const host = bare(compared);
  const forms = new Set([
    compared,
    host,
    inLetters(compared),
    inLetters(host),
    local(compared, "*"),
    rootedAtHost(compared),
  ]);
  forms.delete(written);
  return [tokens, ...[...forms].map(globTokens)];
}

/** Maximum number of characters beyond ASCII in a host: no DNS name is longer (RFC 1035 §2.3.4). */
const maxHostLength = 255;

/** Reports whether a URI's host is too long: parsers take quadratic time to put its combining marks in order. */
export function hasLongHost(uri: string): boolean {
  const [, host = ""] = /^[^:]*:[/\\\s]*([^/?#\\]*)/.exec(uri) ?? [];
  return host.length > maxHostLength && [...host.matchAll(/\P{ASCII}|%[\t\n\r]*[c-fC-F]/gu)].length > maxHostLength;
}

/** Returns the texts that a URI may be taken for; null if that cannot be determined. */
function formsOf(uri: string): ReadonlySet<string> | null {
  if (hasLongHost(uri)) return null;
  // Parsers drop spaces around a URI, even one that the WHATWG parser rejects, such as a file URI with a port.
  const starts = new Set([uri, uri.trim(), URL.parse(uri)?.href ?? uri]);
  // Most programs find the host before they decode the rest; in the decoded text it may end elsewhere.
  for (const form of [...starts].flatMap((start) => decodings(start) ?? [])) starts.add(bare(form)).add(local(form));
  const forms = new Set([uri]);
  for (const start of starts) {
    const decoded = decodings(start);
    if (!decoded) return null;
    for (const form of decoded.slice(1)) forms.add(form);
    const path = withoutQuery(singleSlashes(decoded.at(-1) ?? start));
    for (const one of new Set([path, withoutEnd(path), withoutFragment(path)])) {
      const compared = lowered(joined(one));
      forms
        .add(one)
        .add(compared)
        .add(bare(compared))
        .add(inLetters(compared))
        .add(inLetters(bare(compared)))
        .add(local(compared))
        .add(rootedAtHost(joined(one)));
    }
  }
  return [...forms].some((form) => control.test(form)) ? null : forms;
}

/** Returns a text and the result of each decoding; null if it is encoded too often or so that decoders differ. */
function decodings(text: string): string[] | null {
  const all = [text];
  for (let form = text; form.includes("%"); all.push(form)) {
    if (overlong.test(form)) return null;
    const decoded = decode(form);
    if (decoded === form) break;
    if (all.length > maxDecodings) return null;
    form = decoded;
  }
  return all;
}

/** Decodes percent-escapes once; escapes that are not UTF-8 remain. */
function decode(text: string): string {
  const ascii = (run: string): string => run.replaceAll(/%[0-7][0-9a-f]/gi, decodeURIComponent);
  return text.replaceAll(/(?:%[0-9a-f]{2})+/gi, (run) => orNull(() => decodeURIComponent(run)) ?? ascii(run));
}

/** Turns every separator into a single slash. */
function singleSlashes(uri: string): string {
  const [, authority = "", path = ""] =
    /^([a-z*?][a-z0-9+.*?-]*:\/\/[^/]*)?(.*)$/is.exec(uri.replaceAll("\\", "/")) ?? [];
  return authority + path.replaceAll(/\/{2,}/g, "/");
}

/** A file URI has no query (RFC 8089), and programs that open one drop it. */
const withoutQuery = (uri: string): string => (/^file:/i.test(uri) ? uri.replace(/[?#].*$/s, "") : uri);

/** Programs that fetch or parse a URI leave its fragment to the requester (RFC 3986 §3.5). */
const withoutFragment = (uri: string): string => uri.replace(/#.*$/s, "");

/** Many programs drop the slash at the end of a path when they resolve it, and so open the file. */
const withoutEnd = (uri: string): string => uri.replace(/^(file:\/\/[^/]*\/.+)\/$/is, "$1");

// A `file:` URI with a rooted path, whose first folder is not an authority.
const rooted = /^file:(?:[/\\]|[/\\]{3,})(?![/\\])/i;
const slashes = /^(?!file:(?:\/|\/{3,})[^/])([a-z*?][a-z0-9+.*?-]*:)\/+(?=[^/])/i;
const authority = /^([a-z*?][a-z0-9+.*?-]*:\/\/)([^/?#]*)/i;
/** In a glob, a `?` may stand for a character of the host. */
const globAuthority = /^([a-z*?][a-z0-9+.*?-]*:\/\/)([^/#]*)/i;
const placeholder = /(\$\{[^}]*\})/;

/** Turns the first folder of the path into the authority if there is none. */
const joined = (uri: string): string => uri.replace(slashes, "$1//");

/** Converts scheme and authority to lower case, except placeholders in a glob. */
const lowered = (uri: string): string =>
  uri.replace(authority, (_, start: string, name: string) => {
    const parts = name.split(placeholder);
    return start.toLowerCase() + parts.map((part, at) => (at % 2 === 0 ? part.toLowerCase() : part)).join("");
  });

/** Removes user, port and the dot with which a host may end (RFC 1034 §3.1). */
const bare = (uri: string): string =>
  uri.replace(authority, (_, start: string, name: string) => {
    return (
      start +
      name
        .replace(/^.*@/s, "")
        .replace(/:[\d*]*$/, "")
        .replace(/\.$/, "")
    );
  });

/** Respells each part of the host that has no wildcard. */
const respelled = (uri: string, spell: (part: string) => string, host = authority): string =>
  uri.replace(host, (all: string, start: string, name: string) => {
    const parts = name.split(".").map((part) => (/[*?$]/.test(part) ? part : spell(part) || part));
    return name.length > maxHostLength ? all : start + parts.join(".");
  });

/**
 * Decodes ASCII forms of letters in the host (RFC 5891). The reverse is not needed: only web parsers take text with
 * such letters for a host, and their result is already a reading.
 */
const inLetters = (uri: string, host = authority): string =>
  uri.includes("xn--") ? respelled(uri, (part) => (part.startsWith("xn--") ? domainToUnicode(part) : part), host) : uri;

/** Encodes letters beyond ASCII in the host as ASCII. */
const inAscii = (uri: string): string =>
  respelled(uri, (part) => (/\P{ASCII}/u.test(part) ? domainToASCII(part) : part));

/** Removes the host of a file URI, as many servers open its path locally. `open` replaces one that has a `*`. */
const local = (uri: string, open = ""): string =>
  uri.replace(/^(file:\/\/)([^/]*)/i, (_, start: string, host: string) => start + (host.includes("*") ? open : ""));

/** Turns the host of a file URI into its first folder: Python 3.13 opens `//host/path` for `file://host/path`. */
const rootedAtHost = (uri: string): string => uri.replace(/^file:\/\/(?=[^/])/i, "file:///");

function allBelow(uri: string): GlobTokens {
  const fixed = leavesAuthority(uri)
    ? uri.replace(/^([^:]*:\/\/).*$/s, "$1")
    : (/^[a-z][a-z0-9+.-]*:(?:\/\/[^/\\]*\/)?/i.exec(uri)?.[0] ?? "");
  return [...literalTokens(fixed), ...anything];
}

/** Reports whether `.` and `..` lead above the authority if a server takes it for the first folder of the path. */
function leavesAuthority(uri: string): boolean {
  const [, path] = /^[a-z][a-z0-9+.-]*:\/\/(.*)$/is.exec(uri) ?? [];
  if (path === undefined || rooted.test(uri)) return false;
  let depth = 0;
  for (const segment of path.split(/[/\\?#]/)) {
    const [name] = segment.split(";");
    if (segment.split(";").includes("..")) depth--;
    else if (name !== "" && name !== ".") depth++;
    if (depth < 1 && segment !== "") return true;
  }
  return false;
}

/**
 * The forms of a glob over URIs. `read`: as written, and as servers may read it, also with its host in letters.
 * `others`: with its first folder as the authority, with and without user and port, in letters and in ASCII, and all of
 * these without a fragment; without a file's host, and with it as the first folder.
 */
type UriGlob<Form> = { readonly read: readonly [written: Form, ...Form[]]; readonly others: readonly Form[] };

/** Returns the forms of a glob, each compiled. */
export function formsOfGlob<Form>(glob: string, compile: (text: string) => Form): UriGlob<Form> {
  const compared = lowered(singleSlashes(decode(glob)));
  const read = [compared, inLetters(compared), inLetters(compared, globAuthority)];
  const folder = lowered(joined(compared));
  // The glob may end within the port; then any path may follow.
  const [, host] = /^([^/]*\/\/[^/]*):\d*\*$/.exec(folder) ?? [];
  const hosts = host === undefined ? [bare(folder)] : [bare(host), `${bare(host)}/*`];
  const others = [folder, ...hosts].flatMap((form) => [form, inLetters(form), inAscii(form)]);
  const files = [local(folder, "*"), ...others.map(rootedAtHost)];
  // A file name may contain `#`, and a grant of that file does not cover the file named by the part before it.
  const whole = /^file:/i.test(folder) ? [] : [...read, ...others].map(withoutFragment);
  const near = new Set(read).difference(new Set([glob]));
  const further = new Set([...others, ...whole, ...files]).difference(new Set([glob, ...read]));
  return { read: [compile(glob), ...[...near].map(compile)], others: [...further].map(compile) };
}

const onlyCase = (a: GlobTokens, b: GlobTokens): boolean =>
  a.length === b.length && a.join("").toLowerCase() === b.join("").toLowerCase();

/** Reports whether `b` is `a` plus a single slash at its end. */
const isEnded = (a: GlobTokens, b: GlobTokens): boolean =>
  b.length === a.length + 1 && b.at(-1) === "/" && a.at(-1) !== "/" && a.every((token, at) => token === b[at]);

/**
 * Returns how many readings of a URI a glob matches: all (true), none (false) or some (null). "All" counts every form
 * of the glob. "Some" counts only the `read` forms, because the others drop the port, and a different port is a
 * different server.
 */
export function matchReadings(glob: UriGlob<GlobTokens>, readings: Readings): boolean | null {
  const [raw, ...others] = readings;
  const { read } = glob;
  const forms = [...read, ...glob.others];
  // What is matched as a folder also matches without its final slash, unless a `?` of the glob stands for that slash.
  const takenAsFolder = (one: GlobTokens): boolean =>
    readings.some(
      (other) => isEnded(one, other) && forms.some((form) => form.at(-1) !== anyOne && covers(form, other)),
    );
  const taken = (one: GlobTokens): boolean => forms.some((form) => covers(form, one)) || takenAsFolder(one);
  // The glob may start within an authority in upper case; then matching a reading that differs only in case is enough.
  const takenBut = (one: GlobTokens): boolean => readings.some((other) => onlyCase(other, one) && taken(other));
  if (covers(read[0], raw) && others.every((one) => taken(one) || takenBut(one))) return true;
  return readings.some((one) => read.some((form) => overlap(form, one))) ? null : false;
}

/** Returns how many of a resource's URIs a glob matches: the readings of its URI, or the URIs of its template. */
type UriTest = (readings: Readings, template: string | null) => boolean | null;

/** Compiles a glob over URIs to such a test. */
export function compileUriGlob(glob: string): UriTest {
  const forms = formsOfGlob(glob, globTokens);
  return (readings, template) => {
    const scheme = template !== null && glob.startsWith("*://") ? schemeOf(template) : null;
    return matchReadings(scheme === null ? forms : formsOfGlob(scheme + glob.slice(1), globTokens), readings);
  };
}

/** Returns prefixes such that each URI that the glob matches has a reading that begins with one of them. */
export function beginningsOf(glob: string): readonly string[] {
  const { read, others } = formsOfGlob(glob, (form) => form.replace(/[*?].*$/s, ""));
  return [...read, ...others];
}

/** Returns the scheme of every URI of a template; null if a filled-in value could contain a `://` of its own. */
function schemeOf(template: string): string | null {
  const { simple, prefix } = readTemplate(template);
  return simple ? (/^([^:/]+):\/\//.exec(prefix)?.[1] ?? null) : null;
}
