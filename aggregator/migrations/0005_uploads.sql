-- Runs of contributions that are under way: what is on the disk need not be sent again. Those of earlier attempts go when the next one is
-- announced.
CREATE TABLE uploads (
    announcement BYTEA  NOT NULL,
    member       TEXT   NOT NULL,
    position     BIGINT NOT NULL,
    manifest     BYTEA  NOT NULL,
    blob         BYTEA  NOT NULL,
    chunks       BIGINT NOT NULL,
    PRIMARY KEY (announcement, member, position)
);
