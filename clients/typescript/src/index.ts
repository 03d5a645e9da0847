// Verifies hsmd's key log and what its HSM endorsed, and keeps a service's key endorsed.
//
// Offline: `KeyLog.parse`, `verifyEndorsement`, `verifySigned`, `verifyHead`. In a service: `FollowedLog`
// follows a log and says when it is stale, `Endorser` keeps a key endorsed through rotations and taints.
// Everything here runs in browsers, too; the connections of Node are `@hsmd/client/grpc` and
// `@hsmd/client/node`. `@hsmd/client/text` reads JSON whose exact text was signed.

export {
  digest, digestBytes, generateKey, milliseconds, nonceBytes, point, publicKey, publicKeyText, sign, signatureBytes,
  verify,
} from "./encoding.js";
export { Endorser, type Endorsement, type EndorserOptions } from "./endorser.js";
export { Fork, FutureEvent, OtherHead, Refused, Rollback, Stale, Unavailable } from "./errors.js";
export { Event } from "./event.js";
export { FollowedLog, type FollowedOptions } from "./followed.js";
export { HttpSource, type HttpOptions } from "./http.js";
export { Anchor, HOUR, KeyLog, readEvents } from "./keylog.js";
export { BatchMemory, rootOf, verifyEndorsement, verifyHead, verifySigned } from "./signed.js";
export type { Reading, Verified } from "./signed.js";
export type { EndorsementSource, LogSource, Message } from "./source.js";
export { Numeral, type Value } from "./text.js";
