-- Every certificate that a member was given: at joining, and when it renewed. One that is not here, or is revoked, opens nothing.
CREATE TABLE certificates (
    digest        BYTEA  PRIMARY KEY,
    member        TEXT   NOT NULL REFERENCES members (name),
    issued_at_ms  BIGINT NOT NULL,
    revoked_at_ms BIGINT
);
CREATE INDEX certificates_by_member ON certificates (member);
INSERT INTO certificates (digest, member, issued_at_ms) SELECT certificate_digest, name, joined_at_ms FROM members;
