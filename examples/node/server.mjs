// A backend that believes the accounts service's tokens: node server.mjs SITE [PORT]
// jose fetches the keys, keeps them, and asks again when a token names a key that it does not know.
import { createServer } from "node:http";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [site, port = "0"] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL("/api/auth/jwks", site));

const server = createServer(async (request, response) => {
  const answer = (status, body) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  };
  const [, token] = request.headers.authorization?.match(/^Bearer (.+)$/) ?? [];
  if (!token) return answer(401, { error: "no token" });
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer: site,
      audience: site,
      algorithms: ["ES256"],
    });
    answer(200, { hello: payload.name, email: payload.email });
  } catch (error) {
    answer(401, { error: error.code ?? "bad token" });
  }
});

server.listen(Number(port), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
