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
    UNIQUE (trigger, request_id),
    CHECK ((outcome IS NULL) = (concluded_at IS NULL)),
    CHECK (CASE outcome WHEN 'suppressed' THEN run_id IS NULL AND reason <> ''
                        WHEN 'merged' THEN run_id IS NOT NULL AND reason <> ''
                        WHEN 'run' THEN run_id IS NOT NULL
                        ELSE run_id IS NULL END)
);
CREATE INDEX firings_open ON firings (firing_id) WHERE outcome IS NULL;
CREATE INDEX firings_that_ran ON firings (trigger, concluded_at) WHERE outcome = 'run';
CREATE INDEX firings_by_run ON firings (run_id) WHERE outcome = 'run';
