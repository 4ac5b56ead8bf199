import { covers, type GlobTokens, globTokens, literalTokens, overlap } from "./glob.ts";

/** What a name may stand for: first as it was written, then as others may read it. */
export type Readings = readonly [GlobTokens, ...GlobTokens[]];

// Beyond that it is written only to be misread.
const mostDecodings = 3;
const anything: readonly GlobTokens[] = [globTokens("*")];

const dotSegment = /(?:^|[/\\:;])\.{1,2}(?:[/\\?#;]|$)/;
/** Bytes that a lax decoder takes for ASCII: overlong forms (RFC 3629 §3). */
const overlong = /%c[01]|%e0%[89]|%f0%8/i;
const control = /\p{Cc}/u;

/**
 * What servers may make of a URI: as written, with its percent-escapes decoded, and as the WHATWG URL parser and file
 * systems read it. Where `.` or `..` is a segment of any of these, each server goes its own way: all below the
 * authority. A rule has to hold for every reading to allow, for one to deny.
 */
export function readingsOf(uri: string): Readings {
  const forms = formsOf(uri);
  if (!forms) return [literalTokens(uri), ...anything];
  const others = [...forms].filter((form) => form !== uri).map(literalTokens);
  const below = [...forms].some((form) => dotSegment.test(form)) ? [...forms].map(belowAuthority) : [];
  return [literalTokens(uri), ...others, ...below];
}

/** The texts that a URI may be taken for, null where nobody can tell. */
function formsOf(uri: string): ReadonlySet<string> | null {
  const forms = new Set([uri]);
  for (const start of [uri, URL.parse(uri)?.href ?? uri]) {
    let form = start;
    for (let times = 0; form.includes("%"); times++) {
      if (overlong.test(form)) return null;
      const decoded = decode(form);
      if (decoded === form) break;
      if (times === mostDecodings) return null;
      form = decoded;
      forms.add(form);
    }
    forms.add(withoutQuery(plain(form)));
  }
  return [...forms].some((form) => control.test(form)) ? null : forms;
}

/** Percent-escapes decoded once; what is no UTF-8 stays. */
function decode(text: string): string {
  return text.replaceAll(/(?:%[0-9a-f]{2})+/gi, (run) => {
    try {
      return decodeURIComponent(run);
    } catch {
      return run.replaceAll(/%[0-7][0-9a-f]/gi, (one) => decodeURIComponent(one));
    }
  });
}

/** With one kind of separators, each once. */
function plain(uri: string): string {
  const [, authority = "", path = ""] = /^([a-z][a-z0-9+.-]*:\/\/[^/]*)?(.*)$/is.exec(uri.replaceAll("\\", "/")) ?? [];
  return authority + path.replaceAll(/\/{2,}/g, "/");
}

/** A file has no query (RFC 8089), and what opens it drops one. */
const withoutQuery = (uri: string): string => (/^file:/i.test(uri) ? uri.replace(/[?#].*$/s, "") : uri);

function belowAuthority(uri: string): GlobTokens {
  const fixed = /^[a-z][a-z0-9+.-]*:(?:\/\/[^/\\]*\/)?/i.exec(uri)?.[0] ?? "";
  return [...literalTokens(fixed), ...globTokens("*")];
}

/** A URI, or a glob over URIs, decoded and with one kind of separators, as servers may read it. */
export const asRead = (text: string): string => plain(decode(text));

/**
 * How much of what a URI may stand for a glob matches: all (true), none (false) or some (null). Decoded readings are
 * also compared with the decoded glob.
 */
export function matchReadings(written: GlobTokens, read: GlobTokens, readings: Readings): boolean | null {
  const [raw, ...others] = readings;
  if (covers(written, raw) && others.every((one) => covers(written, one) || covers(read, one))) return true;
  return readings.some((one) => overlap(written, one) || overlap(read, one)) ? null : false;
}

/** Compiles a glob over URIs to that test. */
export function compileUriGlob(glob: string): (readings: Readings) => boolean | null {
  const written = globTokens(glob);
  const read = globTokens(asRead(glob));
  return (readings) => matchReadings(written, read, readings);
}
