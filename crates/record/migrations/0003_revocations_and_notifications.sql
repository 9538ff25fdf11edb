-- What people take back, and what they are told. Only additions: builds of schema 2 go on.

CREATE TABLE revocations (
    publication_id uuid PRIMARY KEY REFERENCES publications,
    state          text NOT NULL CHECK (state IN ('requested', 'revoked', 'refused')),
    requested_by   text NOT NULL,
    note           text,
    requested_at   timestamptz NOT NULL DEFAULT now(),
    -- Tries so far, and when the next one may begin: whoever tries puts that off first, so that of several one does.
    attempts       integer NOT NULL DEFAULT 0,
    next_at        timestamptz NOT NULL DEFAULT now(),
    -- What the outlet said last.
    detail         text,
    settled_at     timestamptz
);
CREATE INDEX revocations_open ON revocations (next_at) WHERE state = 'requested';
COMMENT ON TABLE revocations IS
    'Posts that a person withdrew. The publication''s row stays as it is, and with it its key: nothing sends it again.';

CREATE TABLE notices (
    notice_id   uuid PRIMARY KEY,
    kind        text NOT NULL,
    -- What it is about: the same thing makes one notice of a kind.
    subject     text NOT NULL,
    -- Null for what concerns the fleet.
    tenant      text,
    run_id      uuid,
    detail      json NOT NULL,
    happened_at timestamptz NOT NULL DEFAULT now(),
    -- When the targets were found that want it.
    spread_at   timestamptz,
    UNIQUE (kind, subject)
);
CREATE INDEX notices_fresh ON notices (notice_id) WHERE spread_at IS NULL;
COMMENT ON TABLE notices IS 'Things that people are told of, written in the transaction in which they happen.';

CREATE TABLE notifications (
    notification_id uuid PRIMARY KEY,
    notice_id       uuid NOT NULL REFERENCES notices ON DELETE CASCADE,
    target          text NOT NULL,
    document        json NOT NULL,
    state           text NOT NULL CHECK (state IN ('pending', 'delivered', 'given_up')),
    attempts        integer NOT NULL DEFAULT 0,
    next_at         timestamptz NOT NULL DEFAULT now(),
    give_up_at      timestamptz NOT NULL,
    reason          text,
    settled_at      timestamptz,
    UNIQUE (notice_id, target)
);
CREATE INDEX notifications_due ON notifications (target, next_at) WHERE state = 'pending';
COMMENT ON COLUMN notifications.notification_id IS 'The `webhook-id`: the same for every try.';

CREATE TABLE breakers (
    kind      text NOT NULL CHECK (kind IN ('stage', 'outlet')),
    name      text NOT NULL,
    outage    uuid NOT NULL,
    reason    text NOT NULL,
    opened_at timestamptz NOT NULL,
    -- Renewed by each process in which it is open: one that is silent for long is none.
    seen_at   timestamptz NOT NULL,
    closed_at timestamptz,
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE breakers IS 'The last outage of each breaker, over all processes that have it.';
