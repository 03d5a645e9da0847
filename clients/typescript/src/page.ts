// What the page of the keys service verifies in a browser. Built into its `keylog.js`.

import { Refused } from "./errors.js";
import { Event } from "./event.js";
import { Anchor, KeyLog } from "./keylog.js";
import { BatchMemory, verifyEndorsement, verifyHead } from "./signed.js";
import { entries as cut, members } from "./text.js";

export { Anchor, Refused, verifyHead };

/**
 * Verifies the text of a published log against the identity, perhaps with a head, that is expected. What is `Refused` has the
 * `number` of the event, if it was one. `progress` is told the number of events done.
 */
export async function verifyLog(
  text: string, anchor: Anchor, now: number, progress: (done: number, all: number, id: string) => void,
): Promise<KeyLog> {
  const log = new KeyLog(anchor);
  const entries = [...cut(text)];
  if (entries.length === 0) throw new Refused("log: empty");
  for (const [number, entry] of entries.entries()) {
    try {
      log.append(await Event.read(entry), now);
    } catch (error) {
      throw error instanceof Refused ? Object.assign(error, { number }) : error;
    }
    progress(number + 1, entries.length, log.head.id);
  }
  log.checkAnchor();
  return log;
}

/** Verifies the text `{"<key>":<endorsement>,…}`, one after the other. `refused` says why, or is null. */
export async function verifyEndorsements(
  text: string, log: KeyLog, purpose: string, now: number, window: number,
): Promise<{ key: string; refused: string | null }[]> {
  const memory = new BatchMemory();
  const verdicts = [];
  for (const [key, endorsement] of members(text)) {
    try {
      await verifyEndorsement(endorsement, log, now, { purpose, key, window, memory });
      verdicts.push({ key, refused: null });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      verdicts.push({ key, refused: error.message });
    }
  }
  return verdicts;
}
