import { unescape } from "node:querystring";
import { isCredential } from "../core/credential-patterns.ts";
import type { Finding, Path } from "../core/finding.ts";
import { hashKey, keyHash } from "../core/key-hash.ts";
import { minSecretLength, secretName } from "../core/secret.ts";
import { secretsOf } from "../upstream/options.ts";
import type { Written } from "./document.ts";
import type { Config } from "./schema.ts";

/** Returns the URLs of a server, and what to write instead of a password in each. */
function addresses(server: Config["servers"][number]) {
  if (!("url" in server)) return [];
  const { url, proxy } = server;
  return [
    { option: "url", url, instead: 'headers: { Authorization: "Basic ${VAR}" }' },
    ...(proxy === undefined ? [] : [{ option: "proxy", url: proxy, instead: "http://NAME:${VAR}@HOST:PORT" }]),
  ];
}

/** Returns the password of a URL, as written and decoded, and the login in base64 as the header sends it. */
function loginIn({ username, password }: URL): string[] {
  if (username === "" && password === "") return [];
  const meant = unescape(password);
  return [password, meant, Buffer.from(`${unescape(username)}:${meant}`).toString("base64")];
}

/** Returns the names and values of a URL's query, with each `+` read both as a space and as itself. */
function queryOf({ search }: URL): [string, string][] {
  return [...new URLSearchParams(search), ...new URLSearchParams(search.replaceAll("+", "%2B"))];
}

/**
 * Returns the secrets written in the file itself: keys, passwords in URLs, and values in environments, headers or URL
 * queries whose names suggest a secret.
 */
export function literalSecrets({ auth, servers }: Config): string[] {
  const named = servers.flatMap((server) => [
    ...Object.entries(secretsOf(server)),
    ...addresses(server)
      .map(({ url }) => new URL(url))
      .flatMap((url) => [...queryOf(url), ...loginIn(url).map((secret) => ["password", secret] as const)]),
  ]);
  const values = named.filter(([name, value]) => secretName.test(name) && value.length >= minSecretLength);
  return [...auth.keys.flatMap(({ key }) => key ?? []), ...values.map(([, value]) => value)];
}

const inPlainText = (path: Path, what: string, instead: string): Finding => ({
  path,
  message: `${what} in plain text: anyone who can read the file can use it; write ${instead}`,
});

/** Returns why authentication never accepts a key (a placeholder, too weak) and what to do, else null. */
export type Inert = (key: string) => string | null;

/** Warns of keys that are never accepted, and of secrets written in the file itself. */
export function secretWarnings({ auth, servers }: Config, written: Written, inert: Inert): Finding[] {
  const keys = auth.keys.flatMap(({ key }, index): Finding[] => {
    const path = ["auth", "keys", index, "key"];
    if (key === undefined) return [];
    const reason = inert(key);
    if (reason !== null) return [{ path, message: reason }];
    if (written(path) !== null) return [];
    return [inPlainText(path, "a key", `keyHash: ${keyHash(hashKey(key))}`)];
  });
  const logins = servers.flatMap((server, index) =>
    addresses(server).flatMap(({ option, url, instead }): Finding[] => {
      const path = ["servers", index, option];
      if (!new URL(url).password || written(path) !== null) return [];
      return [inPlainText(path, "a password", instead)];
    }),
  );
  const given = servers.flatMap((server, index) =>
    Object.entries(secretsOf(server)).flatMap(([name, value]): Finding[] => {
      const path = ["servers", index, "headers" in server ? "headers" : "env", name];
      if (written(path) !== null || !isCredential(name, value)) return [];
      return [inPlainText(path, "a secret", "${VAR}, ${file:PATH} or ${credential:NAME}")];
    }),
  );
  return [...keys, ...logins, ...given];
}
