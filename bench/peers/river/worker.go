package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"tidemill/peers/driver"
)

// The stages in their order. The first keeps the event itself.
var stages = []string{"accept", "etl", "embedding", "judge", "publish"}

const (
	// Jobs at once in a process.
	maxWorkers = 100
	// Its connections to PostgreSQL: commits of so many jobs reach the disk together.
	connections = 32
	// As `river bench` has them.
	fetchCooldown     = 2 * time.Millisecond
	fetchPollInterval = 20 * time.Millisecond
)

// Stage is a job: a stage to do, and what it is given, the event's payload or the result of the stage before.
type Stage struct {
	Event int             `json:"event"`
	Stage string          `json:"stage"`
	Given json.RawMessage `json:"given"`
}

// Kind is the job's name.
func (Stage) Kind() string { return "stage" }

type worker struct {
	river.WorkerDefaults[Stage]
	pool *pgxpool.Pool
	ends func(event int)
}

func (w *worker) Work(ctx context.Context, job *river.Job[Stage]) error {
	event, stage := job.Args.Event, job.Args.Stage
	result := job.Args.Given
	if stage != stages[0] {
		result = driver.ResultOf(event, stage)
	}
	tx, err := w.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	insert := "INSERT INTO results (event, stage, body) VALUES ($1, $2, $3)"
	if _, err := tx.Exec(ctx, insert, event, stage, result); err != nil {
		return err
	}
	last := stage == stages[len(stages)-1]
	if !last {
		next := Stage{event, stages[slices.Index(stages, stage)+1], result}
		if _, err := river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, next, nil); err != nil {
			return err
		}
	}
	if _, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	if last {
		w.ends(event)
	}
	return nil
}

// work works jobs until SIGTERM.
func work(file string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ends, err := driver.NoteEnds(file)
	if err != nil {
		return err
	}
	pool, err := connect(context.Background(), connections)
	if err != nil {
		return err
	}
	defer pool.Close()
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{pool: pool, ends: ends})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		FetchCooldown:     fetchCooldown,
		FetchPollInterval: fetchPollInterval,
		Logger:            slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: maxWorkers}},
		Workers:           workers,
	})
	if err != nil {
		return err
	}
	if err := client.Start(context.Background()); err != nil {
		return err
	}
	<-ctx.Done()
	return client.Stop(context.Background())
}
