-- The aggregator's tables, in SQL that SQLite and PostgreSQL both take: BIGINT, TEXT and BYTEA (which SQLite stores as
-- given: a type name that it does not know changes no blob), `$n` parameters, ON CONFLICT DO NOTHING.
-- Times are milliseconds since 1970. Digests and keys are raw bytes. Bodies are canonical bytes of `protocol`.

-- One value each: the frozen roster, the final state's blob and the like.
CREATE TABLE settings (
    name  TEXT  PRIMARY KEY,
    value BYTEA NOT NULL
);

-- Single-use tokens; only their SHA-256 is kept, so that this file lets nobody join.
CREATE TABLE invitations (
    token_digest  BYTEA  PRIMARY KEY,
    name          TEXT   NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    used_at_ms    BIGINT
);

CREATE TABLE members (
    name               TEXT   PRIMARY KEY,
    signing_key        BYTEA  NOT NULL UNIQUE,
    mailbox_key        BYTEA  NOT NULL,
    certificate        TEXT   NOT NULL,
    certificate_digest BYTEA  NOT NULL UNIQUE,
    joined_at_ms       BIGINT NOT NULL
);

-- Signed one-time keys for committee duty. A key is used by one attempt and never again.
CREATE TABLE one_time_keys (
    member       TEXT   NOT NULL REFERENCES members (name),
    sequence     BIGINT NOT NULL,
    body         BYTEA  NOT NULL,
    used_round   BIGINT,
    used_attempt BIGINT,
    PRIMARY KEY (member, sequence)
);

-- One attempt at a round, from its announcement on.
CREATE TABLE attempts (
    round        BIGINT NOT NULL,
    attempt      BIGINT NOT NULL,
    announcement BYTEA  NOT NULL UNIQUE,
    cohort       BYTEA,
    sum_digest   BYTEA,
    PRIMARY KEY (round, attempt)
);

-- What an accepted contribution's manifest stands for: the blobs of its sealed shares and of its chunks, in order.
CREATE TABLE contributions (
    announcement BYTEA  NOT NULL REFERENCES attempts (announcement),
    member       TEXT   NOT NULL REFERENCES members (name),
    manifest     BYTEA  NOT NULL,
    sealed       BYTEA  NOT NULL,
    runs         BYTEA  NOT NULL,
    PRIMARY KEY (announcement, member)
);

-- Every accepted input of an attempt, in order, written before it is acted on or answered.
CREATE TABLE steps (
    round    BIGINT NOT NULL,
    attempt  BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    kind     TEXT   NOT NULL,
    body     BYTEA  NOT NULL,
    PRIMARY KEY (round, attempt, sequence)
);

-- The history that members watch.
CREATE TABLE events (
    sequence BIGINT PRIMARY KEY,
    round    BIGINT NOT NULL,
    attempt  BIGINT NOT NULL,
    kind     TEXT   NOT NULL,
    body     BYTEA  NOT NULL
);
CREATE INDEX events_by_attempt ON events (round, attempt);

-- Leaves of the record (an RFC 6962 tree), in order.
CREATE TABLE leaves (
    position BIGINT PRIMARY KEY,
    body     BYTEA  NOT NULL
);

-- Signed consents to hand over the final adapter.
CREATE TABLE approvals (
    member TEXT  PRIMARY KEY REFERENCES members (name),
    body   BYTEA NOT NULL
);
