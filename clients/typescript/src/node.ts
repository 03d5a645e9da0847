// What only Node has: HTTP over a Unix socket.

import { request } from "node:http";
import { Readable } from "node:stream";
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
          const headers = Object.entries(answer.headers).map(([name, value]) => [name, String(value)] as [string, string]);
          const status = answer.statusCode ?? 500;
          const empty = status === 204 || status === 304;
          if (empty) answer.resume();
          // A stream: whoever reads it decides how much of it.
          const body = empty ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array>);
          resolve(new Response(body, { status, headers }));
        },
      );
      call.on("error", reject);
      call.end(typeof init.body === "string" ? init.body : undefined);
    });
}
