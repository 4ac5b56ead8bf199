import { join } from "node:path";
import { installDir } from "../../src/audit/outside.ts";
import { loadSigningKey } from "../../src/audit/signing-key.ts";
import { openBroker, runCall, tempState, type TempState } from "./audit.ts";

export type Outside = TempState & { readonly dir: string; readonly publicKey: Uint8Array };

/** A closed chain of 21 records with checkpoints of 10 and 20. */
export async function closedChain(): Promise<Outside> {
  const at = tempState();
  const { publicKey } = await loadSigningKey(join(at.state, "signing.key"));
  const opened = await openBroker(at, { durability: "strict" });
  for (let i = 0; i < 5; i += 1) await runCall(opened.broker, { args: `{"n":${i}}` });
  await opened.broker.checkpoint();
  for (let i = 0; i < 4; i += 1) await runCall(opened.broker, { consumer: "b" });
  await runCall(opened.broker);
  await opened.close();
  return { ...at, dir: installDir(at.heads, publicKey), publicKey };
}
