-- Whom the operator let take part again that was left out of attempts, and how many leaves the record had then.
CREATE TABLE readmissions (
    member TEXT   NOT NULL REFERENCES members (name),
    leaves BIGINT NOT NULL,
    PRIMARY KEY (member, leaves)
);
