// A relay without any checks, which shows the maximum that Bun.serve and fetch can reach in one thread. Its argument is
// the URL of the upstream; it prints its port.

const url = process.argv[2] ?? "";
const json = new Headers({ "Content-Type": "application/json" });

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  async fetch(request) {
    const answer = await fetch(url, { method: "POST", headers: json, body: await request.text(), decompress: false });
    return new Response(await answer.text(), { headers: json });
  },
});
console.log(server.port);
