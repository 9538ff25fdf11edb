-- Vectors of pruned runs that a store outside the record still has. Only an addition: builds of schema 2 go on.

CREATE TABLE removed_vectors (
    vector_id  uuid PRIMARY KEY,
    removed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE removed_vectors IS 'Written in the transaction that prunes the run; a row goes once the store has removed it.';
