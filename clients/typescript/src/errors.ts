// What can go wrong, one class a meaning.

/** The input breaks a rule of the formats; the text says which. */
export class Refused extends Error {
  override name = "Refused";
}

/** A log lacks an event that this reader has verified before. */
export class Rollback extends Refused {
  override name = "Rollback";
}

/** A log holds another event of a number than the one that this reader has verified. */
export class Fork extends Refused {
  override name = "Fork";
}

/** The only fault of a new event is that it lies in the future. */
export class FutureEvent extends Refused {
  override name = "FutureEvent";
}

/** A head statement is by another generation than the log's head: an older one, or one to come. */
export class OtherHead extends Refused {
  override name = "OtherHead";
}

/** Nothing proved for too long that the log is the newest: a frozen feed must not hide a taint. */
export class Stale extends Error {
  override name = "Stale";
}

/** The daemon or its log can't be reached now; asking again may help. */
export class Unavailable extends Error {
  override name = "Unavailable";
}

/** Throws `Refused` unless the condition holds. */
export function must(condition: unknown, rule: string): asserts condition {
  if (!condition) throw new Refused(rule);
}
