import { expect, test } from "bun:test";
import { formatProblem } from "../../src/config/problem.ts";

test.each([
  ["/etc/mcpgw", "gateway.yaml:1:2: listen: is odd"],
  ["/etc", "mcpgw/gateway.yaml:1:2: listen: is odd"],
  ["/etc/other", "/etc/mcpgw/gateway.yaml:1:2: listen: is odd"],
  // Where systemd runs the gateway.
  ["/", "/etc/mcpgw/gateway.yaml:1:2: listen: is odd"],
])("a problem is placed for who works in %p", (directory, text) => {
  const problem = { file: "/etc/mcpgw/gateway.yaml", line: 1, column: 2, path: "listen", message: "is odd" };
  expect(formatProblem(problem, directory)).toBe(text);
});
