import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { copied } from "../core/text.ts";
import type { Hash } from "./chain.ts";
import { keyId, type SigningKey } from "./signing-key.ts";

/** The state of a chain at a size (C2SP tlog-checkpoint). */
type Checkpoint = {
  /** `mcpgw/<install>/<chain>`. */
  readonly origin: string;
  readonly size: number;
  readonly root: Hash;
  /** Time of the signature, epoch ms, from the note's extension line; null if there is none. */
  readonly at: number | null;
};

/** A checkpoint as found in a file; `signed` says whether the given key signed it. */
export type FoundCheckpoint = Checkpoint & { readonly signed: boolean };

/** Returns the name of a chain in checkpoints, unique per installation. */
export function originOf(install: string, chain: string): string {
  return `mcpgw/${install}/${chain}`;
}

/** Returns a signed note (C2SP signed-note, Ed25519); the key carries the origin as its name. */
export function signCheckpoint({ origin, size, root, at }: Checkpoint & { at: number }, key: SigningKey): string {
  const text = `${origin}\n${size}\n${root.toBase64()}\nsigned ${new Date(at).toISOString()}\n`;
  const signature = sign(null, Buffer.from(text), key.privateKey);
  const blob = Buffer.concat([keyId(origin, key.publicKey), signature]);
  return `${text}\n— ${origin} ${blob.toString("base64")}\n`;
}

/**
 * Matches one note. A note cut short by a failed write does not match, since no signature is that short. The number of
 * extensions and signatures is bounded and no extension may begin like a note: otherwise a text that repeats the
 * beginning of a note would take minutes to scan. The rest of an origin that was cut off does not match.
 */
const note =
  /^(mcpgw\/[^\n]+)\n(\d{1,16})\n([A-Za-z0-9+/]{43}=)\n((?:(?!mcpgw\/)[^\n]+\n){0,16})\n((?:— \S+ [A-Za-z0-9+/]{91,}=*(?:\n|$)){1,16})/gmu;
const beginning = "\nmcpgw/";
/** A length in characters that no note reaches. */
const tooLong = 1 << 20;

/** Regroups a text's parts into pieces that cut no note; of a long stretch without one, keeps only the end. */
export async function* piecesOf(parts: AsyncIterable<string> | Iterable<string>): AsyncGenerator<string> {
  let rest = "";
  for await (const part of parts) {
    rest += part;
    const end = rest.lastIndexOf(beginning) + 1 || (rest.length > tooLong ? lineEnd(rest) : 0);
    if (end > 0) yield rest.slice(0, end);
    rest = rest.slice(end);
  }
  yield rest;
}

/** Returns where a text ends, excluding what may begin a note, or look like one once cut off from its line. */
const lineEnd = (text: string): number => text.length - beginning.length + (text.endsWith(beginning.slice(1)) ? 0 : 1);

/** Returns the origin of each checkpoint in a text, signed or not. */
export function originsIn(text: string): Iterable<string> {
  return text.matchAll(note).map(([, origin = ""]) => copied(origin));
}

type Wanted = (origin: string) => boolean;

/** Yields every checkpoint in a text whose origin is `wanted`, in order; skips everything else. */
export function* parseCheckpoints(
  text: string,
  publicKey: Uint8Array,
  wanted: Wanted = () => true,
): Generator<FoundCheckpoint> {
  const key = publicKeyObject(publicKey);
  for (const { checkpoint, body, signatures } of notesIn(text, publicKey, wanted))
    yield { ...checkpoint, signed: signatures.some((one) => verify(null, body, key, one)) };
}

/** Number of notes whose signatures are checked concurrently. */
const batch = 32;

/** Does the same for a text with many checkpoints: other threads check signatures, and this one stays free. */
export async function* checkpointsIn(
  text: string,
  publicKey: Uint8Array,
  wanted: Wanted,
): AsyncGenerator<FoundCheckpoint> {
  const key = await crypto.subtle.importKey("raw", Buffer.from(publicKey), "Ed25519", false, ["verify"]);
  const checked = async ({ checkpoint, body, signatures }: Note): Promise<FoundCheckpoint> => {
    const checks = signatures.map((one) => crypto.subtle.verify("Ed25519", key, one, body));
    return { ...checkpoint, signed: (await Promise.all(checks)).includes(true) };
  };
  let running: Promise<FoundCheckpoint>[] = [];
  for (const found of notesIn(text, publicKey, wanted)) {
    if (running.push(checked(found)) < batch) continue;
    yield* await Promise.all(running);
    running = [];
    // If no signature was made with the key, the await above did not yield to other work.
    await setImmediate();
  }
  yield* await Promise.all(running);
}

/** A checkpoint, its signed bytes, and the signatures under its name and key id, which are not checked yet. */
type Note = { readonly checkpoint: Checkpoint; readonly body: Bytes; readonly signatures: readonly Bytes[] };
type Bytes = Uint8Array<ArrayBuffer>;

function* notesIn(text: string, publicKey: Uint8Array, wanted: Wanted): Generator<Note> {
  for (const [, origin = "", size = "", root = "", extension = "", signatures = ""] of text.matchAll(note)) {
    if (!wanted(origin)) continue;
    const body = Buffer.from(`${origin}\n${size}\n${root}\n${extension}`);
    const at = Date.parse(/^signed (\S+)$/m.exec(extension)?.[1] ?? "");
    const id = keyId(origin, publicKey);
    yield {
      checkpoint: {
        origin: copied(origin),
        size: Number(size),
        root: Uint8Array.fromBase64(root),
        at: Number.isNaN(at) ? null : at,
      },
      body,
      signatures: signatures.split("\n").flatMap((line) => {
        const [, signer, blob = ""] = line.split(" ");
        const bytes = Buffer.from(blob, "base64");
        const isOwn = signer === origin && id.every((byte, index) => bytes[index] === byte);
        return isOwn ? bytes.subarray(id.length) : [];
      }),
    };
  }
}

function publicKeyObject(raw: Uint8Array): KeyObject {
  const x = raw.toBase64({ alphabet: "base64url", omitPadding: true });
  return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
}
