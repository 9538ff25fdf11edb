-- The record of Tidemill: the truth behind the streams (ARCHITECTURE.md, "The record").
--
-- Per-run keys begin with the run id, a UUIDv7: rows of one time lie together, and tables can be
-- range-partitioned and pruned by id. Artifacts and provenance have a primary key only and no foreign key.

CREATE TABLE epochs (
    epoch      integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    began_at   timestamptz NOT NULL DEFAULT now(),
    reason     text NOT NULL
);
COMMENT ON TABLE epochs IS 'A new epoch begins when the record was put back from a backup.';
INSERT INTO epochs (reason) VALUES ('installed');

CREATE TABLE tokens (
    token_id    uuid PRIMARY KEY,
    tenant      text NOT NULL,
    name        text NOT NULL,
    roles       text[] NOT NULL CHECK (roles <@ ARRAY['ingest', 'read', 'moderate', 'operate'] AND roles <> '{}'),
    secret_hash bytea NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz
);

CREATE TABLE workflows (
    pipeline_version text PRIMARY KEY,
    name             text NOT NULL,
    document         text NOT NULL,
    registered_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE intents (
    intent_id        uuid PRIMARY KEY,
    tenant           text NOT NULL,
    region           text NOT NULL,
    source_pattern   text NOT NULL,
    purpose          text NOT NULL,
    pipeline_version text NOT NULL REFERENCES workflows,
    rank             integer NOT NULL,
    active           boolean NOT NULL,
    registered_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN intents.rank IS 'Of several active intents that match a source, the lowest rank serves it.';

CREATE TABLE events (
    event_id    uuid PRIMARY KEY,
    tenant      text NOT NULL,
    region      text NOT NULL,
    source      text NOT NULL,
    request_id  text NOT NULL,
    payload     bytea NOT NULL,
    received_at timestamptz NOT NULL
);

-- Kept longer than the events they point to.
CREATE TABLE dedup_keys (
    tenant     text NOT NULL,
    source     text NOT NULL,
    request_id text NOT NULL,
    run_id     uuid NOT NULL,
    PRIMARY KEY (tenant, source, request_id)
);

CREATE TABLE runs (
    run_id            uuid PRIMARY KEY,
    event_id          uuid NOT NULL,
    intent_id         uuid NOT NULL,
    enriched_trend_id uuid,
    content_sha256    bytea,
    chain_head        bytea NOT NULL,
    due_at            timestamptz NOT NULL,
    received_at       timestamptz NOT NULL,
    ended_at          timestamptz,
    duplicate_of      uuid,
    seq               integer NOT NULL DEFAULT 0 CHECK (seq >= 0),
    attempt           integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    chain_len         integer NOT NULL CHECK (chain_len >= 0),
    open_branches     integer NOT NULL DEFAULT 0,
    epoch             integer NOT NULL DEFAULT 1,
    partition         smallint NOT NULL DEFAULT 0,
    tenant            text NOT NULL,
    region            text NOT NULL,
    pipeline_version  text NOT NULL,
    state             text NOT NULL CHECK (state IN ('running', 'waiting', 'parked', 'published', 'done', 'duplicate',
                                                     'rejected', 'needs_review', 'cancelled', 'dead')),
    lifecycle         text NOT NULL CHECK (lifecycle IN ('draft', 'qa', 'approved', 'published')),
    step              text NOT NULL,
    reason            text NOT NULL DEFAULT '',
    traceparent       text
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
-- Neither index covers a column that an ordinary transition changes, so those updates stay heap-only.
CREATE INDEX runs_open ON runs (run_id) WHERE state IN ('running', 'waiting', 'parked');
CREATE INDEX runs_by_tenant ON runs (tenant, run_id);

CREATE TABLE run_branches (
    run_id     uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    branch     integer NOT NULL CHECK (branch > 0),
    fork_step  text NOT NULL,
    state      text NOT NULL,
    step       text NOT NULL,
    seq        integer NOT NULL DEFAULT 0,
    attempt    integer NOT NULL DEFAULT 0,
    due_at     timestamptz NOT NULL,
    chain_head bytea NOT NULL,
    chain_len  integer NOT NULL,
    PRIMARY KEY (run_id, branch)
) WITH (fillfactor = 70);

CREATE TABLE artifacts (
    run_id uuid NOT NULL,
    branch integer NOT NULL,
    seq    integer NOT NULL,
    name   text NOT NULL,
    body   json NOT NULL,
    PRIMARY KEY (run_id, branch, seq, name)
);
COMMENT ON TABLE artifacts IS 'Immutable outputs: `name` is the step''s id, or `content`. `body` keeps its exact text.';

CREATE TABLE provenance_log (
    run_id uuid NOT NULL,
    branch integer NOT NULL,
    pos    integer NOT NULL,
    body   text NOT NULL,
    hash   bytea NOT NULL,
    xid    bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    PRIMARY KEY (run_id, branch, pos)
);
COMMENT ON COLUMN provenance_log.xid IS 'The writing transaction''s xid8 as a number.';
-- A B-tree: a BRIN index says nothing of new pages until a vacuum, so a follower would read all of them each time. Values
-- only grow, so an insert goes to the last leaf, and equal ones share an entry.
CREATE INDEX provenance_by_xid ON provenance_log (xid);

CREATE TABLE content_fingerprints (
    tenant      text NOT NULL,
    fingerprint bytea NOT NULL,
    run_id      uuid NOT NULL,
    PRIMARY KEY (tenant, fingerprint)
);

CREATE TABLE enriched_trends (
    enriched_trend_id uuid PRIMARY KEY,
    run_id            uuid NOT NULL UNIQUE,
    tenant            text NOT NULL,
    language          text NOT NULL,
    sentiment         double precision NOT NULL CHECK (sentiment BETWEEN -1 AND 1),
    topics            text[] NOT NULL,
    toxicity_score    double precision NOT NULL CHECK (toxicity_score BETWEEN 0 AND 1),
    confidence        double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    embedding_status  text NOT NULL CHECK (embedding_status IN ('pending', 'succeeded', 'failed')),
    published_at      timestamptz,
    received_at       timestamptz NOT NULL
);

CREATE TABLE embedding_records (
    vector_id   uuid PRIMARY KEY,
    run_id      uuid NOT NULL,
    tenant      text NOT NULL,
    model       text NOT NULL,
    status      text NOT NULL CHECK (status IN ('succeeded', 'failed')),
    vector      bytea NOT NULL,
    received_at timestamptz NOT NULL,
    xid         bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint
);
CREATE INDEX embedding_records_by_xid ON embedding_records (xid);
COMMENT ON COLUMN embedding_records.vector IS 'f32, little-endian, L2-normalised; empty where the embedding failed.';

CREATE TABLE escalations (
    escalation_id uuid PRIMARY KEY,
    run_id        uuid NOT NULL,
    branch        integer NOT NULL,
    seq           integer NOT NULL,
    tenant        text NOT NULL,
    issue_type    text NOT NULL,
    question      text NOT NULL,
    rule          text,
    evidence      json NOT NULL,
    priority      text NOT NULL DEFAULT 'normal' CHECK (priority IN ('normal', 'high')),
    opened_at     timestamptz NOT NULL DEFAULT now(),
    due_at        timestamptz NOT NULL,
    resolved_at   timestamptz,
    resolution    text CHECK (resolution IN ('approve', 'reject', 'edit', 'send_back', 'override', 'settled', 'cancelled')),
    resolved_by   text,
    note          text,
    UNIQUE (run_id, branch, seq)
);
CREATE INDEX escalations_open ON escalations (tenant, due_at) WHERE resolved_at IS NULL;

CREATE TABLE incidents (
    incident_id uuid PRIMARY KEY,
    run_id      uuid NOT NULL,
    tenant      text NOT NULL,
    kind        text NOT NULL,
    detail      json NOT NULL,
    opened_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX incidents_by_tenant ON incidents (tenant, incident_id);

CREATE TABLE approvals (
    approval_id    uuid PRIMARY KEY,
    -- No foreign key: an approval stays with its publication when the run is pruned.
    run_id         uuid NOT NULL,
    content_sha256 bytea NOT NULL CHECK (length(content_sha256) = 32),
    basis          text NOT NULL CHECK (basis IN ('rule', 'person', 'override')),
    rule           text NOT NULL,
    approved_by    text NOT NULL,
    note           text,
    approved_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (run_id, approval_id, content_sha256)
);

CREATE TABLE publications (
    publication_id  uuid PRIMARY KEY,
    publication_key bytea NOT NULL CHECK (length(publication_key) = 32),
    outlet          text NOT NULL,
    tenant          text NOT NULL,
    run_id          uuid NOT NULL,
    approval_id     uuid NOT NULL,
    content_sha256  bytea NOT NULL,
    step            text NOT NULL,
    seq             integer NOT NULL,
    state           text NOT NULL CHECK (state IN ('sent', 'confirmed', 'rejected', 'unknown', 'abandoned')),
    reference       text,
    reason          text,
    sent_at         timestamptz NOT NULL,
    deadline        timestamptz NOT NULL,
    resend          boolean NOT NULL DEFAULT false,
    settled_at      timestamptz,
    settled_by      text,
    FOREIGN KEY (run_id, approval_id, content_sha256) REFERENCES approvals (run_id, approval_id, content_sha256)
);
-- One effect, one row, unless the outlet definitely refused it.
CREATE UNIQUE INDEX publications_once ON publications (publication_key, outlet) WHERE state <> 'rejected';
CREATE INDEX publications_by_run ON publications (run_id);
CREATE INDEX publications_unsettled ON publications (deadline) WHERE state IN ('sent', 'unknown');

COMMENT ON COLUMN publications.resend IS 'A person ordered a resend: who finds the row `sent` may send once more.';

CREATE TABLE dead_letters (
    dead_letter_id uuid PRIMARY KEY,
    tenant         text,
    run_id         uuid,
    branch         integer,
    seq            integer,
    stream         text,
    entry_id       text,
    step           text,
    reason         text NOT NULL,
    original       bytea NOT NULL,
    died_at        timestamptz NOT NULL DEFAULT now(),
    replayed_at    timestamptz
);
-- The ids of a stream that was emptied may come again, with other bytes.
CREATE UNIQUE INDEX dead_letters_by_entry ON dead_letters (stream, entry_id, sha256(original));
CREATE INDEX dead_letters_open ON dead_letters (died_at) WHERE replayed_at IS NULL;
CREATE INDEX dead_letters_by_run ON dead_letters (run_id);
COMMENT ON COLUMN dead_letters.original IS 'The entry''s fields, each name and value as length-prefixed bytes, as they came.';

CREATE TABLE leases (
    name       text PRIMARY KEY,
    holder     text NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE relay_cursors (
    name text PRIMARY KEY,
    xid  xid8 NOT NULL,
    run_id uuid,
    branch integer,
    pos  integer
);
