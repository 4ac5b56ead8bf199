import { expect, test } from "bun:test";
import { formatProblem } from "../../src/config/problem.ts";

test.each([
  ["/etc/mcpgw", "gateway.yaml:1:2: listen: is odd"],
  ["/etc", "mcpgw/gateway.yaml:1:2: listen: is odd"],
  ["/etc/other", "/etc/mcpgw/gateway.yaml:1:2: listen: is odd"],
  // The working directory under systemd.
  ["/", "/etc/mcpgw/gateway.yaml:1:2: listen: is odd"],
])("a problem is shown relative to the directory %p", (directory, text) => {
  const problem = { file: "/etc/mcpgw/gateway.yaml", line: 1, column: 2, path: "listen", message: "is odd" };
  expect(formatProblem(problem, directory)).toBe(text);
});
