import { createPrivateKey, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { thrownBy } from "../core/attempt.ts";
import { codeOf, messageOf } from "../core/error-text.ts";

type Option = "cert" | "key";
export type KeyPair = Readonly<Record<Option, string>>;

/** Finds why a gateway cannot serve with a PEM certificate chain and key; `files` has their names for the messages. */
export function pairFaults(pem: KeyPair, files: KeyPair): { readonly option: Option; readonly message: string }[] {
  const fault = (option: Option, message: string | null) =>
    message === null ? [] : [{ option, message: `${files[option]}: ${message}` }];
  const faults = [...fault("cert", certificateFault(pem.cert)), ...fault("key", keyFault(pem.key))];
  if (faults.length > 0) return faults;
  // Listening does the same; this also checks the other certificates of the chain.
  const error = thrownBy(() => createSecureContext({ ...pem }));
  if (error === null) return [];
  // Bun leaves the error where the next HMAC on this thread would report it as its own and fail a call.
  thrownBy(() => new Bun.CryptoHasher("sha256", "key"));
  const isOther = ["KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"].includes(reasonOf(error));
  return isOther
    ? fault("key", `is not the private key of the certificate that comes first in ${files.cert}`)
    : fault("cert", noChain(error));
}

const noChain = (error: unknown): string => `is not a certificate chain in PEM form (${reasonOf(error)})`;

function certificateFault(cert: string): string | null {
  const error = thrownBy(() => new X509Certificate(cert));
  return error === null ? null : noChain(error);
}

function keyFault(key: string): string | null {
  const error = thrownBy(() => createPrivateKey(key));
  if (error === null) return null;
  if (codeOf(error) === "ERR_MISSING_PASSPHRASE") {
    const remedy = "decrypt it with `openssl pkey -in FILE -out NEW`, readable only by the gateway's user";
    return `is encrypted, and mcpgw does not ask for a passphrase; ${remedy}`;
  }
  return `is not a usable private key in PEM form (${reasonOf(error)})`;
}

/** Returns `NO_START_LINE` for `error:0900006e:PEM routines:OPENSSL_internal:NO_START_LINE`. */
const reasonOf = (error: unknown): string => messageOf(error).split(":").at(-1) ?? "";
