// Signs in, reads the session, takes a token and verifies it with jose's unchanged createRemoteJWKSet, again
// and again until standard input ends: loop.mjs BASE ORIGIN EMAIL PASSWORD. A line for each round: `ok KID`,
// `waiting WHAT` for a 503 at tokens or keys, or `refused WHAT`.
import { setTimeout } from "node:timers/promises";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [base, origin, email, password] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(`${base}/api/auth/jwks`));

/** An answer on a connection of its own: the balancer chooses for each connection. */
async function call(path, headers, body) {
  const method = body ? "POST" : "GET";
  const answer = await fetch(`${base}/api/auth${path}`, {
    method,
    headers: { ...headers, connection: "close" },
    body,
  });
  return { status: answer.status, headers: answer.headers, body: await answer.text() };
}

async function round() {
  const json = { "content-type": "application/json", origin };
  const signedIn = await call("/sign-in/email", json, JSON.stringify({ email, password }));
  if (signedIn.status !== 200) return `refused sign-in: ${signedIn.status}`;
  const cookie = signedIn.headers.getSetCookie()[0].split(";")[0];
  const session = await call("/get-session", { cookie });
  if (session.status !== 200 || JSON.parse(session.body)?.user.email !== email) {
    return `refused get-session: ${session.status}`;
  }
  const answer = await call("/token", { cookie });
  if (answer.status === 503) return "waiting token";
  if (answer.status !== 200) return `refused token: ${answer.status}`;
  try {
    const { token } = JSON.parse(answer.body);
    const { protectedHeader } = await jwtVerify(token, keys, { issuer: base, audience: base });
    return `ok ${protectedHeader.kid}`;
  } catch (error) {
    // What jose says of any answer that is not 200.
    if (error.message.startsWith("Expected 200 OK")) return "waiting keys";
    return `refused by jose: ${error.code} ${error.message}`;
  }
}

process.stdin.on("end", () => process.exit(0)).resume();
for (;;) {
  console.log(await round().catch((error) => `refused connection: ${error.cause ?? error}`));
  await setTimeout(100);
}
