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

CREATE TABLE sources (
    name          text PRIMARY KEY,
    next_at       timestamptz NOT NULL DEFAULT now(),
    polled_at     timestamptz,
    etag          text,
    last_modified text,
    -- Why the last poll failed; null where it did not.
    failure       text,
    failures      integer NOT NULL DEFAULT 0
);
COMMENT ON COLUMN sources.next_at IS 'Advanced by whoever polls, before it polls: so of several planners one does.';
