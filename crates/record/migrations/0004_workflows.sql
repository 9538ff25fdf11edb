-- Workflows of any shape. Only additions: builds of schema 3 go on.

-- What runs need that fork, loop or write a blackboard.

CREATE TABLE manifests (
    run_id     uuid PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
    board      json NOT NULL,
    version    bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    memory     json NOT NULL DEFAULT '{}',
    expires_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
COMMENT ON TABLE manifests IS
    'One row a run whose workflow keeps a manifest. Whoever advances such a run, or a branch of it, locks this row first.';
CREATE INDEX manifests_expiring ON manifests (expires_at) WHERE expires_at IS NOT NULL;
COMMENT ON COLUMN manifests.expires_at IS 'When the first clock of the run runs out; null while none runs.';
COMMENT ON COLUMN manifests.version IS 'Patches applied to the blackboard.';
COMMENT ON COLUMN manifests.memory IS 'What the rails remember of the run beside its blackboard: visits, spending, taint.';

ALTER TABLE run_branches
    ADD COLUMN reason      text NOT NULL DEFAULT '',
    ADD COLUMN traceparent text,
    ADD COLUMN opened_at   timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN ended_at    timestamptz;
COMMENT ON COLUMN run_branches.branch IS
    'Numbered through the workflow. A fork that is come to again takes its rows again: seq and chain go on.';
CREATE INDEX run_branches_open ON run_branches (run_id) WHERE state IN ('running', 'waiting', 'parked');

ALTER TABLE escalations DROP CONSTRAINT escalations_resolution_check;
ALTER TABLE escalations ADD CONSTRAINT escalations_resolution_check CHECK (resolution IN (
    'approve', 'reject', 'edit', 'send_back', 'override', 'settled', 'cancelled', 'top_up', 'cheaper', 'finish', 'stop'));

-- What gates and budgets count.

CREATE TABLE corridor_days (
    tenant    text NOT NULL,
    day       date NOT NULL,
    -- Posts of a day that has ended, counted once; null until somebody asks.
    published bigint,
    PRIMARY KEY (tenant, day)
);
COMMENT ON TABLE corridor_days IS
    'Whoever reserves a place of a day (UTC) holds its row: of two commits at the bound one stops.';

CREATE TABLE reserved_posts (
    run_id uuid NOT NULL,
    step   text NOT NULL,
    tenant text NOT NULL,
    day    date NOT NULL,
    PRIMARY KEY (run_id, step)
);
CREATE INDEX reserved_posts_by_day ON reserved_posts (tenant, day);
COMMENT ON TABLE reserved_posts IS
    'Places of a day. One counts while its run is open, and for good where its post went out: no end of a run has to free it.';

CREATE INDEX feedback_complaints ON feedback (tenant, given_at) WHERE kind = 'complaint';

CREATE TABLE spending (
    scope       text NOT NULL CHECK (scope IN ('day', 'intent', 'tenant')),
    tenant      text NOT NULL,
    -- The day (UTC), the intent's id, or nothing.
    subject     text NOT NULL,
    tokens      bigint NOT NULL DEFAULT 0 CHECK (tokens >= 0),
    cost_micros bigint NOT NULL DEFAULT 0 CHECK (cost_micros >= 0),
    millis      bigint NOT NULL DEFAULT 0 CHECK (millis >= 0),
    -- What people granted beyond the bound.
    granted_tokens      bigint NOT NULL DEFAULT 0 CHECK (granted_tokens >= 0),
    granted_cost_micros bigint NOT NULL DEFAULT 0 CHECK (granted_cost_micros >= 0),
    granted_millis      bigint NOT NULL DEFAULT 0 CHECK (granted_millis >= 0),
    PRIMARY KEY (scope, tenant, subject)
) WITH (fillfactor = 70);
COMMENT ON TABLE spending IS 'What was settled. Whoever reserves holds the rows of the run''s scopes, in the order of the key.';

CREATE TABLE reserved_spending (
    run_id      uuid NOT NULL,
    branch      integer NOT NULL,
    tenant      text NOT NULL,
    intent_id   uuid NOT NULL,
    day         date NOT NULL,
    tokens      bigint NOT NULL,
    cost_micros bigint NOT NULL,
    millis      bigint NOT NULL,
    PRIMARY KEY (run_id, branch)
);
CREATE INDEX reserved_spending_by_tenant ON reserved_spending (tenant);
COMMENT ON TABLE reserved_spending IS 'What tries under way may still spend; one counts while its run is open.';

CREATE TABLE gate_answers (
    run_id      uuid NOT NULL,
    gate        text NOT NULL,
    -- Digest of what stood before the gate: the answer is for nothing else.
    subject     bytea NOT NULL CHECK (length(subject) = 32),
    basis       text NOT NULL CHECK (basis IN ('person', 'override')),
    answered_by text NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, gate, subject)
);
COMMENT ON TABLE gate_answers IS 'What people answered to gates, so that one who has several is asked once by each.';

-- Which workflow versions are in use, and what runs were asked for with.

CREATE TABLE registrations (
    -- `*` for what the planners' configuration registers: every tenant sees it.
    tenant           text NOT NULL,
    pipeline_version text NOT NULL REFERENCES workflows,
    registered_by    text NOT NULL,
    registered_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, pipeline_version)
);

CREATE TABLE active_workflows (
    -- `*` for what the planners' configuration activates; what a tenant activates goes before it.
    tenant           text NOT NULL,
    name             text NOT NULL,
    pipeline_version text NOT NULL REFERENCES workflows,
    activated_by     text NOT NULL,
    activated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

CREATE TABLE activations (
    activation_id    uuid PRIMARY KEY,
    tenant           text NOT NULL,
    name             text NOT NULL,
    pipeline_version text NOT NULL REFERENCES workflows,
    previous         text,
    activated_by     text NOT NULL,
    activated_at     timestamptz NOT NULL DEFAULT now(),
    -- What becomes of runs that are open on other versions, how many there were, and how many were dealt with.
    runs             text NOT NULL CHECK (runs IN ('finish', 'migrate', 'cancel')),
    open_runs        bigint NOT NULL,
    dealt_with       bigint NOT NULL DEFAULT 0,
    -- Why some could not be dealt with yet.
    reason           text,
    finished_at      timestamptz,
    superseded       boolean NOT NULL DEFAULT false
);
CREATE INDEX activations_unfinished ON activations (activated_at) WHERE finished_at IS NULL;
CREATE INDEX activations_by_name ON activations (tenant, name, activation_id);

ALTER TABLE runs
    ADD COLUMN rerun_of uuid,
    ADD COLUMN dry_run  boolean;
COMMENT ON COLUMN runs.rerun_of IS 'The run whose event it takes through once more.';
COMMENT ON COLUMN runs.dry_run IS 'Its side effects are planned and shown, and not sent.';
CREATE INDEX runs_again ON runs (rerun_of) WHERE rerun_of IS NOT NULL;

CREATE TABLE callbacks (
    run_id  uuid PRIMARY KEY,
    target  text NOT NULL,
    -- When the run's end was told; null while there is none to tell.
    told_at timestamptz
);
CREATE INDEX callbacks_open ON callbacks (run_id) WHERE told_at IS NULL;
COMMENT ON TABLE callbacks IS 'Whom a run''s end is told, where somebody asked for it.';

CREATE TABLE notification_targets (
    name   text PRIMARY KEY,
    -- `*` for every one.
    tenant text NOT NULL
);
COMMENT ON TABLE notification_targets IS 'The targets that the planners know and that want `run_ended`.';

-- Schedules that are made up for over a range of time.

CREATE TABLE backfills (
    backfill_id  uuid PRIMARY KEY,
    trigger      text NOT NULL REFERENCES triggers,
    tenant       text NOT NULL,
    requested_by text NOT NULL,
    -- Times of the schedule from here on are still to be fired, up to `until`, which is not among them.
    next_for     timestamptz NOT NULL,
    until        timestamptz NOT NULL CHECK (until >= next_for),
    quiet        boolean NOT NULL,
    -- Microseconds between two firings.
    pause        bigint NOT NULL CHECK (pause > 0),
    next_at      timestamptz NOT NULL DEFAULT now(),
    fired        bigint NOT NULL DEFAULT 0,
    requested_at timestamptz NOT NULL DEFAULT now(),
    ended_at     timestamptz,
    stopped_by   text
);
CREATE INDEX backfills_open ON backfills (next_at) WHERE ended_at IS NULL;

ALTER TABLE firings ADD COLUMN backfill_id uuid;

ALTER TABLE runs ADD COLUMN quiet boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN runs.quiet IS 'What happens in it is told to nobody and fires no trigger: a backfill asked for that.';

ALTER TABLE runs ADD COLUMN trigger text;
COMMENT ON COLUMN runs.trigger IS 'The trigger whose firing it serves, be it after another run; null where a backfill fired it.';
CREATE INDEX runs_of_triggers ON runs (trigger)
    WHERE trigger IS NOT NULL AND state IN ('running', 'waiting', 'parked');

-- What workers outside have under way.

CREATE TABLE work_orders (
    -- The callback's token itself is kept nowhere: who reads this table completes nothing.
    token_sha256 bytea PRIMARY KEY CHECK (length(token_sha256) = 32),
    -- Callbacks are signed with this; it is derived for the one token.
    signing_key  text NOT NULL,
    run_id       uuid NOT NULL,
    branch       integer NOT NULL,
    -- Where the run or branch stood when the worker was asked last.
    seq          integer NOT NULL,
    step         text NOT NULL,
    visit        bigint NOT NULL,
    -- When a worker took it, by what it answered or by a sign of life: since then it is waited for.
    taken_at     timestamptz,
    -- The worker's last sign of life by itself.
    heard_at     timestamptz,
    answered_at  timestamptz,
    answer       json,
    -- When it was given up, or its answer was of no use: whoever asks for the task again begins anew.
    closed_at    timestamptz
);
CREATE INDEX work_orders_by_run ON work_orders (run_id);
COMMENT ON TABLE work_orders IS 'Tasks that workers outside complete by a callback, one row for each visit of a step.';

ALTER TABLE breakers DROP CONSTRAINT breakers_kind_check;
ALTER TABLE breakers ADD CONSTRAINT breakers_kind_check CHECK (kind IN ('stage', 'outlet', 'provider'));

-- Since when runs and branches have been where they are.

ALTER TABLE runs ADD COLUMN moved_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE run_branches ADD COLUMN moved_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN runs.moved_at IS 'When it moved on last. A try that is to come again moves nothing on.';
