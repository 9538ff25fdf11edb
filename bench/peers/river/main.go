// River as a contender: five jobs chained, each one transaction that inserts the stage's row and the next job and
// completes the own one.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"tidemill/peers/driver"
)

// Connections of the producer: so many inserts are under way, and one may verify.
const producerConnections = 5

const results = `CREATE TABLE results (
	event bigint, stage text, body json NOT NULL, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (event, stage))`

func main() {
	var err error
	if len(os.Args) == 3 && os.Args[1] == "worker" {
		err = work(os.Args[2])
	} else {
		driver.Drive(&peer{}, driver.Offers{Chunk: 1000, Senders: 4}, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(70)
	}
}

func connect(ctx context.Context, connections int32) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return nil, err
	}
	config.MaxConns = connections
	return pgxpool.NewWithConfig(ctx, config)
}

// peer is the producer, a client that works nothing.
type peer struct {
	pool    *pgxpool.Pool
	client  *river.Client[pgx.Tx]
	workers []*driver.Supervised
}

func (p *peer) Start(place driver.Place) (err error) {
	ctx := context.Background()
	if p.pool, err = connect(ctx, producerConnections); err != nil {
		return err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(p.pool), nil)
	if err != nil {
		return err
	}
	if _, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	if _, err = p.pool.Exec(ctx, results); err != nil {
		return err
	}
	if p.client, err = river.NewClient(riverpgxv5.New(p.pool), &river.Config{}); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	for number := range place.Workers {
		log := filepath.Join(place.Folder, fmt.Sprintf("worker-%d.log", number))
		worker, err := driver.Start(log, program, "worker", place.Ends)
		if err != nil {
			return err
		}
		p.workers = append(p.workers, worker)
	}
	return nil
}

func (p *peer) Offer(events []driver.Event) error {
	jobs := make([]river.InsertManyParams, len(events))
	for index, event := range events {
		jobs[index] = river.InsertManyParams{Args: Stage{event.Event, stages[0], event.Payload}}
	}
	_, err := p.client.InsertManyFast(context.Background(), jobs)
	return err
}

func (p *peer) Mismatches(first, count int) (int, error) {
	var whole int
	err := p.pool.QueryRow(context.Background(), `
		SELECT count(*) FROM (SELECT event FROM results WHERE event >= $1 AND event < $2 AND stage = ANY($3)
		                      GROUP BY event HAVING count(*) = $4) AS whole`,
		first, first+count, stages, len(stages)).Scan(&whole)
	return count - whole, err
}

func (p *peer) Stop() {
	for _, worker := range p.workers {
		worker.Stop()
	}
	if p.pool != nil {
		p.pool.Close()
	}
}
