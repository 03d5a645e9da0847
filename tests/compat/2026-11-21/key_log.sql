-- The key log of one identity. The exact text of an event and its signature are the only truth; every
-- other column is cut out of the text by the database, to find it by, and is evidence of nothing: the
-- daemon verifies what it reads. The pattern is the canonical form of docs/formats.md §2, so a text with
-- blanks, escapes, other fields or duplicate names is refused here already.
--
-- A regular expression and not a cast to json: json keeps the last of duplicate names and jsonb turns
-- 2e0 into 2.

CREATE FUNCTION event_part(event_text text, part int) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (regexp_match(event_text, '^\{"id":"(E[A-Za-z0-9_-]{43})","prefix":"(E[A-Za-z0-9_-]{43})","sequenceNumber":(0|[1-9][0-9]{0,7})(?:,"previous":"(E[A-Za-z0-9_-]{43})")?,"createdAt":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z)"(?:,"taintPrevious":(true))?,"purpose":"(key-authorization)","publicKey":"(1AAI[A-Za-z0-9_-]{44})","rotationHash":"(E[A-Za-z0-9_-]{43})"\}$'))[part];

CREATE TABLE event (
    event_text        text COLLATE "C" NOT NULL,
    signature         text COLLATE "C" NOT NULL
        CONSTRAINT event_signature_shape CHECK (signature ~ '^0I[A-Za-z0-9_-]{86}$'),
    sequence_number   int  GENERATED ALWAYS AS (event_part(event_text, 3)::int) STORED NOT NULL,
    id                text COLLATE "C" GENERATED ALWAYS AS (event_part(event_text, 1)) STORED NOT NULL,
    prefix            text COLLATE "C" GENERATED ALWAYS AS (event_part(event_text, 2)) STORED NOT NULL,
    previous          text COLLATE "C" GENERATED ALWAYS AS (event_part(event_text, 4)) STORED,
    previous_number   int  GENERATED ALWAYS AS (nullif(event_part(event_text, 3)::int, 0) - 1) STORED,
    created_at        text COLLATE "C" GENERATED ALWAYS AS (event_part(event_text, 5)) STORED NOT NULL,
    taint_previous    boolean GENERATED ALWAYS AS (event_part(event_text, 6) IS NOT NULL) STORED NOT NULL,
    public_key        text COLLATE "C" GENERATED ALWAYS AS (event_part(event_text, 8)) STORED NOT NULL,
    rotation_hash     text COLLATE "C" GENERATED ALWAYS AS (event_part(event_text, 9)) STORED NOT NULL,

    -- One event a number. Together with the next three: one prefix a table, without gaps.
    CONSTRAINT event_one_per_number PRIMARY KEY (sequence_number),
    CONSTRAINT event_id_unique UNIQUE (prefix, id, sequence_number),
    CONSTRAINT event_first CHECK (
        (sequence_number = 0) = (previous IS NULL)
        AND (sequence_number > 0 OR (id = prefix AND NOT taint_previous))),
    CONSTRAINT event_predecessor FOREIGN KEY (prefix, previous, previous_number)
        REFERENCES event (prefix, id, sequence_number),
    CONSTRAINT event_length CHECK (octet_length(event_text) < 600)
);

-- What administrators did, written in the transaction of the event that it led to.
CREATE TABLE admin_action (
    number              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at                  text COLLATE "C" NOT NULL
        CONSTRAINT admin_action_at_shape
        CHECK (at ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$'),
    action              text NOT NULL
        CONSTRAINT admin_action_known CHECK (action IN ('init', 'rotate', 'taint', 'import')),
    caller              text NOT NULL CONSTRAINT admin_action_caller CHECK (caller <> ''),
    reason              text NOT NULL
        CONSTRAINT admin_action_reason CHECK (char_length(reason) BETWEEN 1 AND 500),
    request_id          text NOT NULL,
    -- The newest event that the action left; of an import also the digest of the file.
    sequence_number     int  NOT NULL REFERENCES event (sequence_number),
    file_digest         text
        CONSTRAINT admin_action_digest CHECK (file_digest ~ '^E[A-Za-z0-9_-]{43}$'),
    CONSTRAINT admin_action_import CHECK ((action = 'import') = (file_digest IS NOT NULL))
);

-- History only grows.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE event ENABLE ALWAYS TRIGGER event_append_only;
CREATE TRIGGER admin_action_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON admin_action
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE admin_action ENABLE ALWAYS TRIGGER admin_action_append_only;
