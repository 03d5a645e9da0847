// Points of P-256, compressed and not: WebCrypto takes no compressed ones.

import { must } from "./errors.js";

const P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;

/** The order of the group. */
export const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** The uncompressed point of a compressed one. p ≡ 3 (mod 4) makes the square root one power. */
export function uncompressed(point: Uint8Array): Uint8Array<ArrayBuffer> {
  must(point[0] === 2 || point[0] === 3, "public key: not a compressed point");
  const x = integerOf(point.subarray(1));
  const square = (((x ** 3n - 3n * x + B) % P) + P) % P;
  let y = power(square, (P + 1n) / 4n);
  must(x < P && (y * y) % P === square, "public key: the point is not on the curve");
  if ((y & 1n) !== BigInt(point[0] & 1)) y = P - y;
  const raw = new Uint8Array(65);
  raw[0] = 4;
  raw.set(point.subarray(1), 1);
  raw.set(octets(y), 33);
  return raw;
}

/** The compressed point of an uncompressed one. */
export function compress(raw: Uint8Array): Uint8Array {
  must(raw.length === 65 && raw[0] === 4, "public key: not on P-256");
  return Uint8Array.of(2 + ((raw[64] as number) & 1), ...raw.subarray(1, 33));
}

/** A big-endian number. */
export function integerOf(bytes: Uint8Array): bigint {
  return BigInt("0x" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(""));
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let bit = exponent; bit > 0n; bit >>= 1n) {
    if (bit & 1n) result = (result * base) % P;
    base = (base * base) % P;
  }
  return result;
}

function octets(number: bigint): Uint8Array {
  const hex = number.toString(16).padStart(64, "0");
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
