import { answer, answerMany, stream } from "./answer.ts";

// The upstream of a measurement over HTTP, on a bare Bun server; prints its port.

const headers = { "Content-Type": "application/json" };
const eventHeaders = { "Content-Type": "text/event-stream" };

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  async fetch(request) {
    if (request.method !== "POST") return new Response(null, { status: 405 });
    const text = await request.text();
    const events = stream(text);
    if (events !== null) return new Response(events, { headers: eventHeaders });
    const reply = request.url.includes("/many/") ? answerMany(text) : answer(text);
    return reply === null ? new Response(null, { status: 202 }) : new Response(reply, { headers });
  },
});
console.log(server.port);
