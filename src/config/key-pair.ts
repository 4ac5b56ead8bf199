import { createPrivateKey, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { thrownBy } from "../core/attempt.ts";
import { codeOf, messageOf } from "../core/error-text.ts";

type Option = "cert" | "key";
export type KeyPair = Readonly<Record<Option, string>>;

/** Why a gateway cannot serve with a certificate chain and its key, both PEM; `files` says where they are from. */
export function pairFaults(pem: KeyPair, files: KeyPair): { readonly option: Option; readonly message: string }[] {
  const fault = (option: Option, message: string | null) =>
    message === null ? [] : [{ option, message: `${files[option]}: ${message}` }];
  const faults = [...fault("cert", certificateFault(pem.cert)), ...fault("key", keyFault(pem.key))];
  if (faults.length > 0) return faults;
  // As listening does it: the further certificates of a chain are looked at too.
  const error = thrownBy(() => createSecureContext({ ...pem }));
  if (error === null) return [];
  // Bun leaves what went wrong where the next HMAC of the thread takes it for its own, which would fail a call.
  thrownBy(() => new Bun.CryptoHasher("sha256", "key"));
  const isOther = ["KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"].includes(reasonOf(error));
  return isOther
    ? fault("key", `is not the private key of the certificate that comes first in ${files.cert}`)
    : fault("cert", noChain(error));
}

const noChain = (error: unknown): string => `is no chain of certificates in PEM form (${reasonOf(error)})`;

function certificateFault(cert: string): string | null {
  const error = thrownBy(() => new X509Certificate(cert));
  return error === null ? null : noChain(error);
}

function keyFault(key: string): string | null {
  const error = thrownBy(() => createPrivateKey(key));
  if (error === null) return null;
  if (codeOf(error) === "ERR_MISSING_PASSPHRASE") {
    const remedy = "keep it as `openssl pkey -in FILE -out NEW` writes it, readable only for the gateway's user";
    return `is encrypted, and nobody is asked for a passphrase; ${remedy}`;
  }
  return `is no private key in PEM form that can be used (${reasonOf(error)})`;
}

/** `NO_START_LINE` of `error:0900006e:PEM routines:OPENSSL_internal:NO_START_LINE`. */
const reasonOf = (error: unknown): string => messageOf(error).split(":").at(-1) ?? "";
