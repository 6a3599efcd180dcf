-- What the opened sum of an applied round says of held-out units, as JSON: release policy `aggregator`, rounds with an evaluation.
CREATE TABLE metrics (
    round BIGINT PRIMARY KEY,
    body  TEXT   NOT NULL
);
