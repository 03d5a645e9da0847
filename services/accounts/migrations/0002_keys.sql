-- The public keys of all replicas that sign tokens, each with the HSM's endorsement as it is published.
-- A private key is in no row: it lives in its replica's memory.

CREATE TABLE keys (
    kid             text COLLATE "C" PRIMARY KEY CHECK (kid ~ '^1AAI[A-Za-z0-9_-]{44}$'),
    endorsement     text NOT NULL,
    -- When the first endorsement was listed; a later one does not change it.
    first_listed_at timestamptz NOT NULL,
    -- When its replica last said that it lives, and whether it has said that it stops.
    heartbeat_at    timestamptz NOT NULL,
    stopped_at      timestamptz,
    -- When its last token has expired.
    listed_until    timestamptz NOT NULL,
    -- A withdrawn key is dead for ever, so its row is never removed.
    withdrawn_at    timestamptz
);

CREATE FUNCTION keep_withdrawn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a withdrawn key stays withdrawn' USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER withdrawn_keys_are_final BEFORE UPDATE OR DELETE ON keys FOR EACH ROW
    WHEN (OLD.withdrawn_at IS NOT NULL) EXECUTE FUNCTION keep_withdrawn();
