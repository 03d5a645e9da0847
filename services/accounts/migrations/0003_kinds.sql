-- The kinds of the passwords' hashes are found by steps in this index.
CREATE INDEX credentials_by_kind ON credentials (split_part(password_hash, '$', 4));
DROP INDEX credentials_with_scrypt;
