-- The newest cosignature of each member: of the head that counts so many leaves, as a line of the checkpoint's note.
CREATE TABLE cosignatures (
    member TEXT   PRIMARY KEY REFERENCES members (name),
    size   BIGINT NOT NULL,
    line   TEXT   NOT NULL
);
