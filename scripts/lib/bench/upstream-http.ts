import { answer } from "./answer.ts";

// A bare Bun server; prints its port.

const headers = { "Content-Type": "application/json" };

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  async fetch(request) {
    if (request.method !== "POST") return new Response(null, { status: 405 });
    const reply = answer(await request.text());
    return reply === null ? new Response(null, { status: 202 }) : new Response(reply, { headers });
  },
});
console.log(server.port);
