import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { certificate, hasOpenssl } from "../../support/certificate.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { http, listed } from "../../support/upstream.ts";

test.skipIf(!hasOpenssl).each([
  ["http", "https", "the TLS handshake with it failed (DEPTH_ZERO_SELF_SIGNED_CERT)"],
  ["sse", "https", "the TLS handshake with it failed (DEPTH_ZERO_SELF_SIGNED_CERT)"],
  ["websocket", "wss", "the TLS handshake with it failed (DEPTH_ZERO_SELF_SIGNED_CERT)"],
])(
  "T19: over %s nothing is sent to a server with an untrusted certificate (needs openssl)",
  async (transport, scheme, says) => {
    using at = new TempDir();
    certificate(at);
    const tls = { cert: readFileSync(at.path("c.pem")), key: readFileSync(at.path("k.pem")) };
    const heard: string[] = [];
    const fetch = ({ url }: Request): Response => {
      heard.push(url);
      return new Response();
    };
    const server = Bun.serve({ hostname: "localhost", port: 0, tls, fetch });
    const url = `${scheme}://localhost:${server.port}/mcp`;
    await using set = await listed([http("a", url, { transport, headers: { "X-Key": "secret" } })]);
    expect(set.status()[0]).toMatchObject({ state: "backoff", reason: expect.stringContaining(says) });
    expect(heard).toEqual([]);
    await server.stop(true);
  },
);
