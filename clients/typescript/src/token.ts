// JSON Web Tokens by an endorsed key.

const ECDSA = { name: "ECDSA", hash: "SHA-256" };
const utf8 = new TextEncoder();

/** An ES256 token that ends after `lifetime`, and never later than `expiration`; both in milliseconds. */
export async function token(
  key: CryptoKey, kid: string, claims: object, lifetime: number, expiration: number,
): Promise<string> {
  const now = Date.now();
  const exp = Math.floor(Math.min(now + lifetime, expiration) / 1000);
  const timed = { ...claims, iat: Math.floor(now / 1000), exp };
  const signed = `${part({ alg: "ES256", typ: "JWT", kid })}.${part(timed)}`;
  const signature = await crypto.subtle.sign(ECDSA, key, utf8.encode(signed));
  return `${signed}.${base64url(new Uint8Array(signature))}`;
}

function part(value: object): string {
  return base64url(utf8.encode(JSON.stringify(value)));
}

function base64url(bytes: Uint8Array): string {
  const binary = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
