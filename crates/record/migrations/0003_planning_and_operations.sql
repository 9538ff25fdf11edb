-- Triggers, revocations, notices, vectors kept elsewhere, and epochs. Only additions: builds of schema 2 go on.

-- Triggers: what makes the planner act, and what became of each firing.

CREATE TABLE fleets (
    fleet_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    only_one boolean NOT NULL DEFAULT true UNIQUE CHECK (only_one)
);
COMMENT ON TABLE fleets IS 'Who this fleet is: by it the planner knows its own events on dataset:events.';
INSERT INTO fleets DEFAULT VALUES;

CREATE TABLE triggers (
    name          text PRIMARY KEY,
    tenant        text NOT NULL,
    definition    text NOT NULL,
    active        boolean NOT NULL,
    -- When the schedule fires next; null without one.
    next_at       timestamptz,
    registered_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN triggers.registered_at IS 'A trigger follows from nothing that happened before.';

CREATE TABLE firings (
    firing_id    uuid PRIMARY KEY,
    trigger      text NOT NULL REFERENCES triggers,
    tenant       text NOT NULL,
    request_id   text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('manual', 'scheduled', 'reactive')),
    -- Who or what fired it: a person, an entry, a time, an event's id.
    cause        text NOT NULL,
    -- What its event is known by: the same cause leads to the same event, also where the record was put back.
    origin       text NOT NULL,
    input        text NOT NULL,
    -- The triggers whose firings led here.
    chain        text[] NOT NULL DEFAULT '{}',
    -- Where a schedule fired: the time that was meant.
    meant_for    timestamptz,
    traceparent  text,
    fired_at     timestamptz NOT NULL DEFAULT now(),
    outcome      text CHECK (outcome IN ('run', 'merged', 'suppressed')),
    reason       text NOT NULL DEFAULT '',
    run_id       uuid,
    concluded_at timestamptz,
    UNIQUE (trigger, kind, request_id),
    CHECK ((outcome IS NULL) = (concluded_at IS NULL)),
    CHECK (CASE outcome WHEN 'suppressed' THEN run_id IS NULL AND reason <> ''
                        WHEN 'merged' THEN run_id IS NOT NULL AND reason <> ''
                        WHEN 'run' THEN run_id IS NOT NULL
                        ELSE run_id IS NULL END)
);
CREATE INDEX firings_open ON firings (firing_id) WHERE outcome IS NULL;
CREATE INDEX firings_that_ran ON firings (trigger, concluded_at) WHERE outcome = 'run';
CREATE INDEX firings_by_tenant ON firings (tenant, firing_id);
CREATE INDEX firings_by_trigger ON firings (trigger, firing_id);
CREATE INDEX firings_by_run ON firings (run_id) WHERE outcome = 'run';

ALTER TABLE events ADD COLUMN outside boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN events.outside IS 'Told by others on dataset:events: it has no run of its own.';
CREATE INDEX events_outside ON events (received_at) WHERE outside;

-- What people take back, and what they are told.

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

-- Vectors of pruned runs that a store outside the record still has. Only an addition: builds of schema 2 go on.

CREATE TABLE removed_vectors (
    vector_id  uuid PRIMARY KEY,
    removed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE removed_vectors IS 'Written in the transaction that prunes the run; a row goes once the store has removed it.';

-- What a record that was put back from a backup needs to know of its ledger.

ALTER TABLE publications ADD COLUMN restored boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN publications.restored IS
    'Claimed after the record was put back, and nothing was sent since; whether anything was before, the outlet is asked.';

COMMENT ON COLUMN runs.epoch IS
    'The epoch it came in. Its default is the present one: `tidemill restored` sets it anew.';
