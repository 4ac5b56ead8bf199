import { expect, test } from "bun:test";
import { hostNameOf } from "../../../src/upstream/http/host-names.ts";

test.each(["127.0.0.1", "[::1]", "localhost", "LOCALHOST", "localhost.", "app.localhost", "app.localhost."])(
  "%s is not resolved",
  (host) => {
    expect(hostNameOf({ url: `http://${host}:1/mcp` })).toBeNull();
    expect(hostNameOf({ url: "http://server.test/mcp", proxy: `http://${host}:1` })).toBeNull();
  },
);
