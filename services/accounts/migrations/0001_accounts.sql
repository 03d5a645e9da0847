-- Users, their passwords and sessions, the links that mails carry, and what is counted for limits.
-- Everything lies in the schema that the connection's search_path names. Secrets are stored hashed.

CREATE TABLE users (
    id             text COLLATE "C" PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    name           text NOT NULL,
    -- Lower case, and unique in it.
    email          text COLLATE "C" NOT NULL UNIQUE CHECK (email = lower(email)),
    email_verified boolean NOT NULL DEFAULT false,
    image          text,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);

-- The password of a user, who may have none. Argon2id as a PHC string, or the library's scrypt form
-- `<hex salt>:<hex key>`, which is replaced when its user signs in.
CREATE TABLE credentials (
    id            text COLLATE "C" PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    user_id       text COLLATE "C" NOT NULL UNIQUE REFERENCES users ON DELETE CASCADE,
    password_hash text NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);
CREATE INDEX credentials_with_scrypt ON credentials (user_id) WHERE password_hash NOT LIKE '$%';

-- A session's cookie is its token and a secret, of which only the SHA-256 is here: who reads this table
-- has no session. A revoked row stays until it would have expired, so that its end has a reason.
CREATE TABLE sessions (
    id          text COLLATE "C" PRIMARY KEY,
    token       text COLLATE "C" NOT NULL UNIQUE,
    secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
    user_id     text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    -- Whether it lasts beyond the browser and is extended when used.
    remember    boolean NOT NULL,
    ip_address  text NOT NULL,
    user_agent  text NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    revoked_at  timestamptz
);
CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- What a mail's link may do, under the SHA-256 of the link's token.
CREATE TABLE links (
    hash       bytea PRIMARY KEY CHECK (length(hash) = 32),
    kind       text NOT NULL CHECK (kind IN ('reset', 'delete', 'verify', 'change', 'confirm-change')),
    user_id    text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    -- The address that is verified, or that replaces the user's.
    email      text COLLATE "C",
    expires_at timestamptz NOT NULL,
    -- When it made a session; it makes one at most.
    used_at    timestamptz
);
CREATE INDEX links_of_user ON links (user_id);
CREATE INDEX links_by_end ON links (expires_at);

-- Attempts with a password, and mails, by the hash of the submitted address, whether it exists or not.
CREATE TABLE attempts (
    key           bytea PRIMARY KEY CHECK (length(key) = 32),
    count         integer NOT NULL,
    last_at       timestamptz NOT NULL,
    blocked_until timestamptz NOT NULL
);
CREATE INDEX attempts_by_age ON attempts (last_at);
