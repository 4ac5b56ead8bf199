// What passing on costs where nothing is governed: the most that Bun.serve and fetch in one thread can reach. Its
// argument is the URL of the upstream; prints its port.

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
