// What only Node has: HTTP over a Unix socket.

import { request } from "node:http";
import { HttpSource, type HttpOptions } from "./http.js";

/** hsmd-gateway on a Unix socket, `unix:///path`, whose owner is trusted; or an HTTP address. */
export function connectHttp(endpoint: string, options: HttpOptions = {}): HttpSource {
  if (!endpoint.startsWith("unix:")) return new HttpSource(endpoint, options);
  const socketPath = endpoint.replace(/^unix:(?:\/\/)?/, "");
  return new HttpSource("http://localhost", { trusted: true, ...options, fetch: over(socketPath) });
}

/** As much of `fetch` as the source needs. */
function over(socketPath: string): typeof fetch {
  return (input, init = {}) =>
    new Promise((resolve, reject) => {
      const { pathname, search } = new URL(String(input));
      const call = request(
        {
          socketPath,
          path: pathname + search,
          method: init.method ?? "GET",
          headers: { host: "localhost", ...(init.headers as Record<string, string> | undefined) },
          ...(init.signal ? { signal: init.signal } : {}),
        },
        (answer) => {
          const chunks: Buffer[] = [];
          answer.on("data", (chunk: Buffer) => chunks.push(chunk));
          answer.on("error", reject);
          answer.on("end", () => {
            const headers = Object.entries(answer.headers).map(([name, value]) => [name, String(value)] as [string, string]);
            const status = answer.statusCode ?? 500;
            const body = status === 204 || status === 304 ? null : Buffer.concat(chunks);
            resolve(new Response(body, { status, headers }));
          });
        },
      );
      call.on("error", reject);
      call.end(typeof init.body === "string" ? init.body : undefined);
    });
}
