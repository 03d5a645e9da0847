// Verifies a token from standard input with keys that are fetched now: verify.mjs BASE SITE. Prints `ok`, or
// jose's code.
import { readFileSync } from "node:fs";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [base, site] = process.argv.slice(2);
const token = readFileSync(0, "utf8");
const keys = createRemoteJWKSet(new URL(`${base}/api/auth/jwks`));
const checks = { issuer: site, audience: site };
console.log(await jwtVerify(token, keys, checks).then(() => "ok", (error) => error.code));
process.exit(0);
