-- Rows that cost what a plain INSERT costs. In migration 1 each of nine columns was cut out of the text
-- by a regular expression over the whole text, 15 to 20 ms a row. Here each is cut out by position
-- between the quotation marks, and one CHECK puts the text together again from the columns: it is the
-- canonical form of docs/formats.md §2 or it is refused, as before.
--
-- The rows are the same, text for text and signature for signature.

CREATE TABLE event_kept AS SELECT event_text, signature, sequence_number FROM event;
ALTER TABLE admin_action DROP CONSTRAINT admin_action_sequence_number_fkey;
DROP TABLE event;
DROP FUNCTION event_part(text, int);

-- With `previous` the parts after it are four places further on.
CREATE TABLE event (
    event_text        text COLLATE "C" NOT NULL,
    signature         text COLLATE "C" NOT NULL
        CONSTRAINT event_signature_shape
        CHECK (octet_length(signature) = 88 AND signature ~ '^0I[A-Za-z0-9_-]+$'),
    sequence_number   int  GENERATED ALWAYS AS (rtrim(ltrim(split_part(event_text, '"', 11), ':'), ',')::int) STORED NOT NULL,
    id                text COLLATE "C" GENERATED ALWAYS AS (split_part(event_text, '"', 4)) STORED NOT NULL,
    prefix            text COLLATE "C" GENERATED ALWAYS AS (split_part(event_text, '"', 8)) STORED NOT NULL,
    previous          text COLLATE "C" GENERATED ALWAYS AS (CASE WHEN split_part(event_text, '"', 12) = 'previous' THEN split_part(event_text, '"', 14) END) STORED,
    previous_number   int  GENERATED ALWAYS AS (nullif(rtrim(ltrim(split_part(event_text, '"', 11), ':'), ',')::int, 0) - 1) STORED,
    created_at        text COLLATE "C" GENERATED ALWAYS AS (split_part(event_text, '"', CASE WHEN split_part(event_text, '"', 12) = 'previous' THEN 18 ELSE 14 END)) STORED NOT NULL,
    taint_previous    boolean GENERATED ALWAYS AS (split_part(event_text, '"', 20) = 'taintPrevious') STORED NOT NULL,
    public_key        text COLLATE "C" GENERATED ALWAYS AS (split_part(event_text, '"', -6)) STORED NOT NULL,
    rotation_hash     text COLLATE "C" GENERATED ALWAYS AS (split_part(event_text, '"', -2)) STORED NOT NULL,

    -- One event a number. Together with the next three: one prefix a table, without gaps.
    CONSTRAINT event_one_per_number PRIMARY KEY (sequence_number),
    CONSTRAINT event_id_unique UNIQUE (prefix, id, sequence_number),
    CONSTRAINT event_first CHECK (
        (sequence_number = 0) = (previous IS NULL)
        AND (sequence_number > 0 OR (id = prefix AND NOT taint_previous))),
    CONSTRAINT event_predecessor FOREIGN KEY (prefix, previous, previous_number)
        REFERENCES event (prefix, id, sequence_number),
    CONSTRAINT event_length CHECK (octet_length(event_text) < 600),
    CONSTRAINT event_canonical CHECK (
        event_text = '{"id":"' || id || '","prefix":"' || prefix || '","sequenceNumber":' || sequence_number
            || coalesce(',"previous":"' || previous || '"', '') || ',"createdAt":"' || created_at || '"'
            || CASE WHEN taint_previous THEN ',"taintPrevious":true' ELSE '' END
            || ',"purpose":"key-authorization","publicKey":"' || public_key
            || '","rotationHash":"' || rotation_hash || '"}'
        AND sequence_number BETWEEN 0 AND 99999999
        AND octet_length(id) = 44 AND id ~ '^E[A-Za-z0-9_-]+$'
        AND octet_length(prefix) = 44 AND prefix ~ '^E[A-Za-z0-9_-]+$'
        AND (previous IS NULL OR (octet_length(previous) = 44 AND previous ~ '^E[A-Za-z0-9_-]+$'))
        AND created_at ~ '^\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ$'
        AND octet_length(public_key) = 48 AND public_key ~ '^1AAI[A-Za-z0-9_-]+$'
        AND octet_length(rotation_hash) = 44 AND rotation_hash ~ '^E[A-Za-z0-9_-]+$')
);

INSERT INTO event (event_text, signature)
    SELECT event_text, signature FROM event_kept ORDER BY sequence_number;
DROP TABLE event_kept;

ALTER TABLE admin_action ADD CONSTRAINT admin_action_sequence_number_fkey
    FOREIGN KEY (sequence_number) REFERENCES event (sequence_number);

CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE event ENABLE ALWAYS TRIGGER event_append_only;

-- An event that the database had lost and a daemon appended again from its own copy of the log.
ALTER TABLE admin_action DROP CONSTRAINT admin_action_known;
ALTER TABLE admin_action ADD CONSTRAINT admin_action_known
    CHECK (action IN ('init', 'rotate', 'taint', 'import', 'recovered'));

-- Which state folder has claimed the token, in which epoch: the holder of the writer lock of the
-- database that knows the newest claim may take the token over without a person.
CREATE TABLE token_claim (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    epoch   bigint NOT NULL CONSTRAINT token_claim_epoch CHECK (epoch > 0),
    folder  text COLLATE "C" NOT NULL
        CONSTRAINT token_claim_folder CHECK (folder ~ '^[0-9a-f]{32}$')
);
CREATE TRIGGER token_claim_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON token_claim
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE token_claim ENABLE ALWAYS TRIGGER token_claim_append_only;
