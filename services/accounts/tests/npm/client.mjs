// The unchanged browser client against a running service: client.mjs new|old BASE ORIGIN
// Node keeps no cookies and says no origin, so a jar and a header stand for the browser's part.
import assert from "node:assert/strict";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [version, base, origin] = process.argv.slice(2);
const library = version === "new" ? "better-auth" : "better-auth-1-2";
const { createAuthClient } = await import(`${library}/client`);
const { jwtClient } = version === "new" ? await import(`${library}/client/plugins`) : {};

function browser() {
  const jar = new Map();
  const seen = { headers: undefined };
  const customFetchImpl = async (url, options) => {
    const headers = new Headers(options?.headers);
    headers.set("origin", origin);
    if (jar.size > 0) {
      headers.set("cookie", [...jar].map(([name, value]) => `${name}=${value}`).join("; "));
    }
    const response = await fetch(url, { ...options, headers, redirect: "manual" });
    for (const line of response.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split("; ");
      const [name, value] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
      if (attributes.includes("Max-Age=0")) jar.delete(name);
      else jar.set(name, value);
    }
    seen.headers = response.headers;
    return response;
  };
  const client = createAuthClient({
    baseURL: base,
    fetchOptions: { customFetchImpl },
    plugins: jwtClient ? [jwtClient()] : [],
  });
  return { client, jar, seen };
}

const good = (answer) => {
  assert.equal(answer.error, null, JSON.stringify(answer.error));
  return answer.data;
};
const refused = (answer, status, code) => {
  assert.equal(answer.data, null);
  assert.equal(answer.error.status, status, JSON.stringify(answer.error));
  if (code) assert.equal(answer.error.code, code);
};

const email = `npm-${version}@example.com`;
const [password, changed] = ["correct horse", "battery staple"];
const first = browser();
const second = browser();

const signedUp = good(await first.client.signUp.email({ name: "Nora", email, password }));
assert.equal(signedUp.user.email, email);
assert.ok(signedUp.user.createdAt instanceof Date);
assert.equal(first.jar.size, 1);
refused(await second.client.signUp.email({ name: "N", email: email.toUpperCase(), password }), 422);
refused(await second.client.signIn.email({ email, password: "wrong password" }), 401, "INVALID_EMAIL_OR_PASSWORD");

const session = good(await first.client.getSession());
assert.equal(session.user.id, signedUp.user.id);
assert.ok(session.session.expiresAt instanceof Date);
const jwt = first.seen.headers.get("set-auth-jwt");
assert.ok(jwt, "get-session comes with a token");

const tokens = good(await first.client.$fetch("/token"));
const keys = createRemoteJWKSet(new URL(`${base}/api/auth/jwks`));
for (const token of [jwt, tokens.token]) {
  const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer: base, audience: base });
  assert.equal(payload.sub, signedUp.user.id);
  assert.equal(protectedHeader.alg, "ES256");
}
if (jwtClient) {
  assert.ok(good(await first.client.token()).token);
  assert.equal(good(await first.client.jwks()).keys[0].crv, "P-256");
}

assert.equal(good(await second.client.signIn.email({ email, password })).user.id, signedUp.user.id);
const listed = good(await first.client.listSessions());
assert.equal(listed.length, 2);
const other = listed.find((it) => it.token !== session.session.token);
assert.equal(good(await first.client.revokeSession({ token: other.token })).status, true);
assert.equal(good(await second.client.getSession()), null);

good(await second.client.signIn.email({ email, password, rememberMe: false }));
assert.equal(good(await first.client.revokeOtherSessions()).status, true);
assert.equal(good(await second.client.getSession()), null);

good(await first.client.updateUser({ name: "Nora B.", image: "https://example.com/nora.png" }));
assert.equal(good(await first.client.getSession()).user.name, "Nora B.");

refused(await first.client.changePassword({ currentPassword: "not it at all", newPassword: changed }), 400, "INVALID_PASSWORD");
good(await first.client.changePassword({ currentPassword: password, newPassword: changed, revokeOtherSessions: true }));
refused(await second.client.signIn.email({ email, password }), 401);
good(await second.client.signIn.email({ email, password: changed }));

const forgotten = version === "new" ? "requestPasswordReset" : "forgetPassword";
good(await second.client[forgotten]({ email, redirectTo: "/reset" }));
refused(await second.client.resetPassword({ newPassword: changed, token: "nosuchtoken" }), 400, "INVALID_TOKEN");
good(await second.client.sendVerificationEmail({ email, callbackURL: "/" }));

assert.equal(good(await second.client.signOut()).success, true);
assert.equal(second.jar.size, 0);
assert.equal(good(await second.client.getSession()), null);
good(await first.client.revokeSessions());
assert.equal(good(await first.client.getSession()), null);

good(await first.client.signIn.email({ email, password: changed }));
assert.equal(good(await first.client.deleteUser({ password: changed })).message, "User deleted");
refused(await first.client.signIn.email({ email, password: changed }), 401);
console.log("passed", version);
process.exit(0);
