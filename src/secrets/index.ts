import { isUtf8 } from "node:buffer";
import { isAbsolute, join, resolve as resolvePath } from "node:path";
import { whyUnreadable } from "../core/access.ts";
import { codeOf } from "../core/error-text.ts";
import { readRegularSync, UnfitFile } from "../core/files.ts";
import { minSecretLength } from "../core/secret.ts";

/** The error of a reference that cannot be resolved; the message names the reference, never a value. */
export class SecretError extends Error {
  override readonly name = "SecretError";
}

type SecretsOptions = {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** systemd's `$CREDENTIALS_DIRECTORY`; absent outside of a unit. */
  readonly credentialsDirectory?: string | undefined;
  /** The directory for relative paths. */
  readonly directory: string;
};

/** A text with its references resolved, and the secret values that it now contains. */
type Resolved = { readonly value: string; readonly secrets: string[] };

type Found = { readonly value: string; readonly secret: boolean };
type Source = { readonly form: RegExp; readonly read: (match: RegExpExecArray, options: SecretsOptions) => Found };

const maxBytes = 64 * 1024;

// One entry per kind of reference; the first whose form matches the text between the braces is used.
const sources: readonly Source[] = [
  { form: /^file:(.+)$/s, read: ([, path = ""], { directory }) => readSecret(resolvePath(directory, path)) },
  { form: /^credential:([A-Za-z0-9_.-]+)$/, read: ([, name = ""], options) => readCredential(name, options) },
  {
    form: /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s,
    read: ([, name = "", other], { env }) => readEnv(name, other, env),
  },
];

function readEnv(name: string, fallback: string | undefined, env: SecretsOptions["env"]): Found {
  const value = env[name];
  if (fallback !== undefined && !value) return { value: fallback, secret: false };
  if (value !== undefined) return { value, secret: true };
  throw new SecretError(`environment variable ${name} is not set; set it, or write \${${name}:-default}`);
}

function readCredential(name: string, { credentialsDirectory }: SecretsOptions): Found {
  const remedy = `under systemd, add LoadCredential=${name}:PATH to the unit; in a shell, run with CREDENTIALS_DIRECTORY=DIR`;
  if (/^\.+$/.test(name)) throw new SecretError(`"${name}" is not a valid credential name`);
  if (!credentialsDirectory || !isAbsolute(credentialsDirectory)) {
    throw new SecretError(`credential ${name}: there is no systemd credentials directory; ${remedy}`);
  }
  return readSecret(join(credentialsDirectory, name));
}

function readSecret(path: string): Found {
  const bytes = bytesOf(path);
  if (bytes.includes(0) || !isUtf8(bytes)) {
    throw new SecretError(`${path} is binary or not UTF-8; a secret must be one line of UTF-8 text`);
  }
  return { value: bytes.toString("utf8").replace(/\r?\n$/, ""), secret: true };
}

function bytesOf(path: string): Buffer {
  try {
    return readRegularSync(path, maxBytes);
  } catch (error) {
    if (error instanceof UnfitFile)
      throw new SecretError(`${path} must be a regular file of at most ${maxBytes / 1024} KiB`);
    const code = codeOf(error) ?? "unreadable";
    const denied = whyUnreadable(error, path);
    throw new SecretError(denied === null ? `cannot read ${path} (${code})` : `cannot read ${path}: ${denied}`);
  }
}

function lookUp(reference: string, options: SecretsOptions): Found {
  for (const { form, read } of sources) {
    const match = form.exec(reference);
    if (match) return read(match, options);
  }
  throw new SecretError(
    `\${${reference.slice(0, 60)}} is not a reference; write \${VAR}, \${VAR:-default}, \${file:PATH} or \${credential:NAME}`,
  );
}

/**
 * Returns a function that resolves `${VAR}`, `${VAR:-default}` (the default also replaces an empty value),
 * `${file:PATH}` (without one final line end) and `${credential:NAME}`. `$${` stands for a literal `${`.
 * `${principal.…}` stays: the policy fills it in for each call. Values are not resolved again. Throws SecretError.
 */
export function createResolver(options: SecretsOptions): (text: string) => Resolved {
  return (text) => {
    const secrets = new Set<string>();
    const value = text.replace(references, (whole, reference?: string, end?: string) => {
      if (whole === "$${") return "${";
      if (reference === undefined) return whole;
      if (end === "") throw new SecretError(`"\${${reference.slice(0, 60)}" has no closing brace`);
      const found = lookUp(reference, options);
      if (found.secret && found.value.length >= minSecretLength) secrets.add(found.value);
      return found.value;
    });
    return { value, secrets: [...secrets] };
  };
}

const references = /\$\$\{|\$\{principal\.|\$\{([^}]*)(\}|$)/g;
