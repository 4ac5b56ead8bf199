import { expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { watchCrowd } from "../../src/serve/crowd.ts";
import { until } from "../support/until.ts";

test("T26: open connections beyond the cap are noticed, and so is that they have gone", async () => {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("") });
  const crowd = watchCrowd(10, () => 0);
  const sockets: Socket[] = [];
  try {
    for (let i = 0; i < 120; i++) sockets.push(connect(Number(server.port), "127.0.0.1"));
    await until(() => crowd.full, "the crowd to be full");
    for (const socket of sockets) socket.destroy();
    await until(() => !crowd.full, "the crowd to be gone");
    expect(crowd.full).toBe(false);
  } finally {
    for (const socket of sockets) socket.destroy();
    crowd.close();
    await server.stop(true);
  }
});
