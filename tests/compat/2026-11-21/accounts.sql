-- Accounts, their devices, challenges and used refresh hashes. All times are milliseconds since 1970.
-- Digests, keys and nonces are stored as their texts, which hashes and signatures are over.

CREATE DOMAIN digest AS text COLLATE "C" CHECK (VALUE ~ '^E[A-Za-z0-9_-]{43}$');
CREATE DOMAIN public_key AS text COLLATE "C" CHECK (VALUE ~ '^1AAI[A-Za-z0-9_-]{44}$');
CREATE DOMAIN nonce AS text COLLATE "C" CHECK (VALUE ~ '^0A[A-Za-z0-9_-]{22}$');
CREATE DOMAIN instant AS bigint CHECK (VALUE > 0);

CREATE TABLE accounts (
    identity      digest PRIMARY KEY,
    recovery_hash digest NOT NULL,
    created_at    instant NOT NULL,
    -- A deleted account keeps its row, so that its identity is never registered again.
    deleted_at    instant
);

CREATE TABLE devices (
    device        digest PRIMARY KEY,
    identity      digest NOT NULL REFERENCES accounts,
    public_key    public_key NOT NULL,
    rotation_hash digest NOT NULL,
    created_at    instant NOT NULL,
    -- A revoked device keeps its row, so that it is never registered again.
    revoked_at    instant
);
CREATE INDEX devices_of_account ON devices (identity);
CREATE INDEX devices_revoked ON devices (revoked_at) WHERE revoked_at IS NOT NULL;

-- One row for each challenge that can still be answered; old ones are purged.
CREATE TABLE challenges (
    nonce    nonce PRIMARY KEY,
    identity digest NOT NULL REFERENCES accounts,
    given_at instant NOT NULL,
    used_at  instant
);
CREATE INDEX challenges_by_age ON challenges (given_at);

-- The hashes of access keys that a refresh has used, until their sessions can't be refreshed anyhow.
CREATE TABLE refreshes (
    hash       digest PRIMARY KEY,
    device     digest NOT NULL REFERENCES devices,
    used_until instant NOT NULL
);
CREATE INDEX refreshes_by_age ON refreshes (used_until);

-- What is for ever is for ever, whatever a program does: no account and no device is removed, renamed,
-- moved, undeleted or unrevoked, and a challenge is used once.

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is not allowed', TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER accounts_are_kept BEFORE DELETE ON accounts FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER accounts_are_not_emptied BEFORE TRUNCATE ON accounts EXECUTE FUNCTION refuse();
CREATE TRIGGER deleted_accounts_are_final BEFORE UPDATE ON accounts FOR EACH ROW
    WHEN (OLD.deleted_at IS NOT NULL OR OLD.identity <> NEW.identity)
    EXECUTE FUNCTION refuse();

CREATE TRIGGER devices_are_kept BEFORE DELETE ON devices FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER devices_are_not_emptied BEFORE TRUNCATE ON devices EXECUTE FUNCTION refuse();
CREATE TRIGGER revoked_devices_are_final BEFORE UPDATE ON devices FOR EACH ROW
    WHEN (OLD.revoked_at IS NOT NULL OR OLD.device <> NEW.device OR OLD.identity <> NEW.identity)
    EXECUTE FUNCTION refuse();

CREATE TRIGGER used_challenges_are_final BEFORE UPDATE ON challenges FOR EACH ROW
    WHEN (OLD.used_at IS NOT NULL)
    EXECUTE FUNCTION refuse();
CREATE TRIGGER refreshes_are_final BEFORE UPDATE ON refreshes FOR EACH ROW EXECUTE FUNCTION refuse();
