import { answer } from "./answer.ts";

// The upstream of a measurement on stdin and stdout.

const decoder = new TextDecoder();
let rest = "";
for await (const chunk of Bun.stdin.stream()) {
  const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
  rest = lines.pop() ?? "";
  const replies = lines.flatMap((line) => (line === "" ? [] : (answer(line) ?? [])));
  if (replies.length > 0) process.stdout.write(`${replies.join("\n")}\n`);
}
