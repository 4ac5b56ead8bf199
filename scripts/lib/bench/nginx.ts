import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { freePort, type Running, start } from "./children.ts";

/** Returns the configuration of a plain proxy: one worker, kept-alive upstream connections, no access log. */
function config(dir: string, port: number, upstreamPort: number): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `  ${kind}_temp_path ${join(dir, kind)};`,
  );
  return `${process.getuid?.() === 0 ? "user root;\n" : ""}worker_processes 1;
daemon off;
pid ${join(dir, "pid")};
error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off;
${temporary.join("\n")}
  keepalive_requests 100000000;
  upstream direct {
    server 127.0.0.1:${upstreamPort};
    keepalive 128;
    keepalive_requests 100000000;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://direct;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`;
}

/** Starts nginx in front of `upstreamPort`; returns null if it is not installed. */
export async function startNginx(dir: string, upstreamPort: number): Promise<(Running & { port: number }) | null> {
  const program = Bun.which("nginx", { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/usr/local/sbin` });
  if (program === null) return null;
  const port = freePort();
  await mkdir(dir, { recursive: true });
  const file = join(dir, "nginx.conf");
  await Bun.write(file, config(dir, port, upstreamPort));
  // -e: before it reads its configuration, nginx would write to a log that only root may open.
  return { ...start({ command: [program, "-e", "stderr", "-p", dir, "-c", file] }), port };
}
