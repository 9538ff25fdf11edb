-- What a record that was put back from a backup needs to know of its ledger. Only additions: builds of schema 2 go on.

ALTER TABLE publications ADD COLUMN restored boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN publications.restored IS
    'Claimed after the record was put back, and nothing was sent since; whether anything was before, the outlet is asked.';

COMMENT ON COLUMN runs.epoch IS
    'The epoch it came in. Its default is the present one: `tidemill restored` sets it anew.';
