import type { Call } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import type { AuditEvent, InputStep } from "../core/ports.ts";
import type { Source } from "../core/principal.ts";
import type { PayloadRow, SubjectRow } from "../core/store.ts";
import { cut } from "../core/text.ts";
import { commit } from "./chain.ts";
import type { AuditOptions } from "./options.ts";
import { type Fields, readRecord } from "./record.ts";
import { createRedactor, type Part, type Redactor } from "./redact.ts";
import { sessionName } from "./session-name.ts";

/** A record but for its place in the chain, and the payloads that go beside it. */
export type Draft = { readonly fields: Fields; readonly payloads: readonly Omit<PayloadRow, "seq">[] };

/** Events that the audit itself makes. */
export type Change = Omit<AuditEvent, "type"> & { readonly type: "checkpoint" | "clock.step" | "audit.resumed" };

type RedactOptions = Pick<AuditOptions, "payloads" | "redact">;

const maxName = 200;
const maxReason = 500;
const shortId = 12;
const maxSubjects = 10_000;
const noPayloads: Draft["payloads"] = [];

/** Turns calls and events into drafts. Untrusted texts are cut, so that a record stays small. */
export class Drafts {
  /** Pseudonyms that no commit has carried yet. */
  readonly subjects: SubjectRow[] = [];
  readonly #clock: Clock;
  readonly #secrets: () => readonly string[];
  readonly #pseudonyms = new Map<string, string>();
  #redactor: Redactor;
  #mode: string;

  constructor(options: RedactOptions, secrets: () => readonly string[], clock: Clock) {
    this.#clock = clock;
    this.#secrets = secrets;
    this.#redactor = createRedactor(options, secrets);
    this.#mode = options.payloads;
  }

  configure(options: RedactOptions): void {
    this.#redactor = createRedactor(options, this.#secrets);
    this.#mode = options.payloads;
  }

  begin(call: Call): Draft {
    const args = this.#redactor.part("args", call.argumentsText);
    const fields = { type: "call.begin", ...this.#stamp(), ...this.#intent(call, args), sbx: "none" };
    return { fields, payloads: sealedRow("args", args) };
  }

  /** `ref` is the sequence of the begin record, undefined where none could be written. */
  end(call: Call, ref: number | undefined): Draft {
    const result = call.reply && this.#redactor.part("result", call.reply.text);
    const fields = {
      type: "call.end",
      ...this.#stamp(),
      ...identity(call, this.#redactor.text),
      ...this.#outcome(call),
      ref,
      pay: this.#mode,
      al: Buffer.byteLength(call.argumentsText),
      rd: result?.sealed?.commitment,
      rl: result?.length ?? 0,
      rcut: result?.cut || undefined,
    };
    return { fields, payloads: result ? sealedRow("result", result) : noPayloads };
  }

  refused(call: Call): Draft {
    const args = this.#redactor.part("args", call.argumentsText);
    const fields = { type: "call.refused", ...this.#stamp(), ...this.#intent(call, args), ...this.#outcome(call) };
    return { fields, payloads: sealedRow("args", args) };
  }

  /** A subscription in one record: who asked for what, decided how, and that it was granted. */
  once(call: Call, facts: AuditEvent["facts"]): Draft {
    const args = this.#redactor.part("args", call.argumentsText);
    const outcome = { st: "ok", us: call.took, facts: safe(facts, this.#redactor) };
    const fields = { type: "call.end", ...this.#stamp(), ...this.#intent(call, args), ...outcome };
    return { fields, payloads: sealedRow("args", args) };
  }

  /** A question to the caller, or what became of it; `ref` is the sequence of the call's begin record. */
  input(call: Call, { request, outcome, answer, rule, of }: InputStep, ref: number | undefined): Draft {
    const part = answer === null ? "args" : "result";
    const body = this.#redactor.part(part, answer ?? request.params);
    const { sealed, length, cut: shortened } = body;
    const held =
      answer === null
        ? { ad: sealed?.commitment, al: length, acut: shortened || undefined }
        : { rd: sealed?.commitment, rl: length, rcut: shortened || undefined };
    const facts = { asks: request.method, outcome, ...(of && { of }) };
    const about = { ...identity(call, this.#redactor.text), ref, rule: rule ?? undefined, pay: this.#mode, facts };
    return { fields: { type: "call.input", ...this.#stamp(), ...about, ...held }, payloads: sealedRow(part, body) };
  }

  lost(call: Call, ref: number): Draft {
    const reason = "the outcome could not be recorded when it was known";
    const outcome = { ref, st: "lost", reason, us: call.took };
    return {
      fields: { type: "call.lost", ...this.#stamp(), ...identity(call, this.#redactor.text), ...outcome },
      payloads: noPayloads,
    };
  }

  event({ type, actor, facts }: AuditEvent | Change): Draft {
    const caller = cut(actor, maxName);
    return { fields: { type, ...this.#stamp(), caller, facts: safe(facts, this.#redactor) }, payloads: noPayloads };
  }

  authFailed(src: string, code: string, count: number): Draft {
    const fields = { type: "auth.failed", ...this.#stamp(), src, st: "auth-failed", code, count };
    return { fields, payloads: noPayloads };
  }

  /** Where a request came from, without a personal address in it. */
  source({ transport, ip, loopback }: Source): string {
    if (ip === null) return transport;
    return `${transport}:${loopback ? ip : this.#pseudonym(ip)}`;
  }

  #stamp(): { at: number; mono: number } {
    return { at: this.#clock.now(), mono: this.#clock.mono() };
  }

  /** A salted name for an address: the row that says what it stands for can be erased, the record cannot. */
  #pseudonym(value: string): string {
    const found = this.#pseudonyms.get(value);
    if (found !== undefined) return found;
    if (this.#pseudonyms.size >= maxSubjects) this.#pseudonyms.clear();
    const salt = crypto.getRandomValues(new Uint8Array(32));
    const id = `~${commit(salt, value).slice(0, 22)}`;
    this.#pseudonyms.set(value, id);
    this.subjects.push({ id, salt, value });
    return id;
  }

  /** Who asked for what, decided how: the part that begins and refusals share. */
  #intent(call: Call, args: Part) {
    return {
      ...identity(call, this.#redactor.text),
      subj: call.who?.id,
      roles: call.who?.roles,
      src: this.source(call.source),
      sess: call.session ? sessionName(call.session) : undefined,
      rpc: call.inbound.idText === null ? undefined : this.#idText(call.inbound.idText),
      pol: call.policy ?? undefined,
      rule: call.verdict?.rule ?? call.failure?.detail.rule,
      reason: call.verdict?.reason,
      pay: this.#mode,
      ad: args.sealed?.commitment,
      al: args.length,
      acut: args.cut || undefined,
    };
  }

  /** An id is the caller's own text; only a short one cannot hold a credential. */
  #idText(idText: string): string {
    return idText.length < shortId ? idText : cut(this.#redactor.text(idText), maxName);
  }

  #outcome({ failure, reply, status, took }: Call) {
    const code = failure?.code ?? (reply?.kind === "error" ? String(reply.code) : (reply?.type ?? undefined));
    const shown = (text: string | undefined) => text && cut(this.#redactor.text(text), maxReason);
    return { st: status, code, reason: shown(failure?.message), cause: shown(failure?.detail.internal), us: took };
  }
}

/** One record for many refusals of one principal: who and how often, no longer what. */
export function countedRefusal(sample: Draft, count: number, now: { at: number; mono: number }): Draft {
  const { caller, subj, consumer, roles, src, st, code } = sample.fields;
  return {
    fields: { type: "call.refused", ...now, caller, subj, consumer, roles, src, st, code, count },
    payloads: noPayloads,
  };
}

/** The ending of a call that was in flight when the process died, from its begin record. */
export function lostDraft(
  begin: { readonly rec: string; readonly seq: number },
  now: { at: number; mono: number },
): Draft {
  const { call, caller, consumer, srv, tool, method, al } = readRecord(begin.rec);
  const reason = "the gateway stopped before the outcome was recorded; the tool may have run";
  return {
    fields: {
      type: "call.lost",
      ...now,
      call,
      caller,
      consumer,
      srv,
      tool,
      method,
      al,
      ref: begin.seq,
      st: "lost",
      reason,
    },
    payloads: noPayloads,
  };
}

/** What begin and end both carry, so that queries and metering need only the end. */
function identity(call: Call, redact: (text: string) => string) {
  return {
    call: call.id,
    caller: call.who?.keyId ?? call.who?.id,
    consumer: call.who?.consumerId,
    method: call.knownMethod === "other" ? cut(redact(call.inbound.method), maxName) : call.inbound.method,
    srv: call.route?.server,
    trace: call.trace ?? undefined,
    tool: call.route?.name ?? (call.target === null ? undefined : cut(redact(call.target), maxName)),
  };
}

function sealedRow(part: PayloadRow["part"], { sealed }: Part): Draft["payloads"] {
  return sealed ? [{ part, salt: sealed.salt, body: sealed.body }] : noPayloads;
}

function safe(facts: AuditEvent["facts"], redactor: Redactor): Fields["facts"] {
  const kept: Record<string, string | number | boolean | null> = {};
  for (const [key, value] of Object.entries(facts)) {
    if (typeof value === "string") kept[key] = cut(redactor.text(value), maxReason);
    else kept[key] = typeof value === "number" && !Number.isSafeInteger(value) ? String(value) : value;
  }
  return kept;
}
