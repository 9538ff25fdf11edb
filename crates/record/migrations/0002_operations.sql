-- What operators and the people behind a publication add to the record. Only additions: builds of schema 1 go on.

ALTER TABLE dead_letters
    ADD COLUMN discarded_at   timestamptz,
    ADD COLUMN discarded_by   text,
    ADD COLUMN discard_reason text;
COMMENT ON COLUMN dead_letters.discarded_at IS 'A person gave the letter up; it is kept.';

CREATE TABLE pauses (
    kind      text NOT NULL CHECK (kind IN ('stage', 'outlet', 'source')),
    name      text NOT NULL,
    paused_by text NOT NULL,
    reason    text NOT NULL DEFAULT '',
    paused_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name)
);

CREATE TABLE feedback (
    feedback_id    uuid PRIMARY KEY,
    publication_id uuid NOT NULL,
    tenant         text NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('complaint', 'correction')),
    text           text NOT NULL,
    given_by       text NOT NULL,
    given_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feedback_by_publication ON feedback (publication_id);
