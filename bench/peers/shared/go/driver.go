// Package driver is what the contenders written in Go share: the load, the clock and the talk with the harness
// (README.md).
package driver

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// Events carried before the measured ones.
	warmUp = 1000
	// Bytes of an event's payload and of a stage's result, as JSON.
	payloadBytes = 600
	resultBytes  = 300
	// The pace of a steady load.
	tick = 10 * time.Millisecond
	// How often the file of ends is looked at.
	look = 5 * time.Millisecond
	// How long no event may end before the load is given up.
	patience = 60 * time.Second
)

// The signal of a parent's death follows the thread that forked: `main` stays on the one that ends with the process.
func init() { runtime.LockOSThread() }

// Event is what a contender is offered.
type Event struct {
	Event   int             `json:"event"`
	Payload json.RawMessage `json:"payload"`
}

// Place tells a contender where to work.
type Place struct {
	// An empty folder.
	Folder string
	// Processes of workers.
	Workers int
	// The file in which workers note what ended when.
	Ends string
}

// Peer is a contender.
type Peer interface {
	// Start starts what it needs.
	Start(Place) error
	// Offer gives events to it and returns when they are accepted; called from several goroutines.
	Offer([]Event) error
	// Mismatches counts those of these events that did not pass every stage exactly once.
	Mismatches(first, count int) (int, error)
	// Stop stops what Start started; called once, also in the middle of a start.
	Stop()
}

// Offers says how a flood is offered: events at once, and offers under way.
type Offers struct{ Chunk, Senders int }

func padded(head string, size int) json.RawMessage {
	text := strings.Repeat("the quick brown fox ", size/20+1)
	return json.RawMessage(head + text[:size-len(head)-2] + `"}`)
}

// PayloadOf is the payload of an event: an object that is 600 bytes of JSON.
func PayloadOf(event int) json.RawMessage {
	return padded(fmt.Sprintf(`{"event":%d,"title":"Event %d","body":"`, event, event), payloadBytes)
}

// ResultOf is what a stage keeps of an event: an object that is 300 bytes of JSON.
func ResultOf(event int, stage string) json.RawMessage {
	return padded(fmt.Sprintf(`{"event":%d,"stage":"%s","result":"`, event, stage), resultBytes)
}

// NoteEnds returns the function by which workers note an event's end in the file.
func NoteEnds(file string) (func(event int), error) {
	ends, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return func(event int) {
		fmt.Fprintf(ends, "%d %.3f\n", event, float64(time.Now().UnixMicro())/1000)
	}, nil
}

// Supervised is a program that is killed when this process ends, however it ends.
type Supervised struct {
	command *exec.Cmd
	ended   chan struct{}
}

// Start starts a program; its output goes to a file. It must be called from the goroutine of `main`.
func Start(log string, program string, arguments ...string) (*Supervised, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	guarded := append([]string{"--pdeathsig", "KILL", "--", program}, arguments...)
	command := exec.Command("setpriv", guarded...)
	command.Stdout, command.Stderr = file, file
	if err := command.Start(); err != nil {
		return nil, err
	}
	supervised := &Supervised{command, make(chan struct{})}
	go func() {
		command.Wait()
		close(supervised.ended)
	}()
	return supervised, nil
}

// Ended is closed when the program has ended.
func (s *Supervised) Ended() <-chan struct{} { return s.ended }

// Stop sends SIGTERM, and SIGKILL after ten seconds.
func (s *Supervised) Stop() {
	s.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second):
		s.command.Process.Kill()
		<-s.ended
	}
}

// The file of ends, read as it grows.
type ends struct {
	file *os.File
	rest string
	at   map[int]time.Time
}

func (e *ends) look() error {
	grown, err := io.ReadAll(e.file)
	if err != nil {
		return err
	}
	lines := strings.Split(e.rest+string(grown), "\n")
	e.rest = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		number, at, _ := strings.Cut(line, " ")
		event, _ := strconv.Atoi(number)
		milliseconds, err := strconv.ParseFloat(at, 64)
		if err != nil {
			return err
		}
		if _, known := e.at[event]; !known {
			e.at[event] = time.UnixMicro(int64(milliseconds * 1000))
		}
	}
	return nil
}

// reach waits until `count` events have ended in all, or none does for a long time.
func (e *ends) reach(count int) error {
	before, since := -1, time.Now()
	for {
		if err := e.look(); err != nil {
			return err
		}
		if len(e.at) > before {
			before, since = len(e.at), time.Now()
		}
		if len(e.at) >= count || time.Since(since) > patience {
			return nil
		}
		time.Sleep(look)
	}
}

type load struct {
	events  int
	due     func(event int) time.Time
	latency bool
}

func eventsOf(first, count int) []Event {
	events := make([]Event, count)
	for index := range events {
		events[index] = Event{first + index, PayloadOf(first + index)}
	}
	return events
}

func flood(peer Peer, offers Offers, ends *ends, first, count int) (load, error) {
	began := time.Now()
	chunks := make(chan []Event)
	faults := make(chan error, offers.Senders)
	for range offers.Senders {
		go func() {
			var fault error
			for chunk := range chunks {
				if fault == nil {
					fault = peer.Offer(chunk)
				}
			}
			faults <- fault
		}()
	}
	for at := first; at < first+count; at += offers.Chunk {
		chunks <- eventsOf(at, min(offers.Chunk, first+count-at))
	}
	close(chunks)
	for range offers.Senders {
		if fault := <-faults; fault != nil {
			return load{}, fault
		}
	}
	return load{count, func(int) time.Time { return began }, false}, ends.reach(first + count)
}

func steady(peer Peer, offers Offers, ends *ends, first int, rate, seconds float64) (load, error) {
	began, count := time.Now(), int(rate*seconds)
	var under sync.WaitGroup
	faults := make(chan error, 1)
	for sent := 0; sent < count; time.Sleep(tick) {
		until := min(count, int(time.Since(began).Seconds()*rate)+1)
		for at := sent; at < until; at += offers.Chunk {
			events := eventsOf(first+at, min(offers.Chunk, until-at))
			under.Go(func() {
				if fault := peer.Offer(events); fault != nil {
					select {
					case faults <- fault:
					default:
					}
				}
			})
		}
		sent = until
	}
	under.Wait()
	select {
	case fault := <-faults:
		return load{}, fault
	default:
	}
	due := func(event int) time.Time {
		return began.Add(time.Duration(float64(event-first) / rate * float64(time.Second)))
	}
	return load{count, due, true}, ends.reach(first + count)
}

type figures struct {
	Events  int      `json:"events"`
	Seconds float64  `json:"seconds"`
	P50     *float64 `json:"p50_ms"`
	P95     *float64 `json:"p95_ms"`
	P99     *float64 `json:"p99_ms"`
	Max     *float64 `json:"max_ms"`
	Errors  int      `json:"errors"`
}

func rounded(value float64) float64 { return math.Round(value*1000) / 1000 }

func summary(l load, ends *ends, first, errors int) figures {
	last := l.due(first)
	var taken []float64
	for event := first; event < first+l.events; event++ {
		at, ended := ends.at[event]
		if !ended {
			continue
		}
		if at.After(last) {
			last = at
		}
		taken = append(taken, float64(at.Sub(l.due(event)).Microseconds())/1000)
	}
	slices.Sort(taken)
	part := func(share float64) *float64 {
		if !l.latency || len(taken) == 0 {
			return nil
		}
		value := rounded(taken[int(math.Ceil(share*float64(len(taken))))-1])
		return &value
	}
	seconds := rounded(last.Sub(l.due(first)).Seconds())
	return figures{l.events, seconds, part(0.5), part(0.95), part(0.99), part(1), errors}
}

// Drive runs a contender as the arguments say, `flood EVENTS` or `steady RATE SECONDS`, and ends the process.
func Drive(peer Peer, offers Offers, arguments []string) {
	var once sync.Once
	leave := func(code int) {
		once.Do(func() {
			peer.Stop()
			os.Exit(code)
		})
		select {}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		leave(143)
	}()
	line, closed, measured := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		input := bufio.NewReader(os.Stdin)
		if _, err := input.ReadString('\n'); err == nil {
			close(line)
			io.Copy(io.Discard, input)
		}
		close(closed)
		select {
		case <-measured:
		default:
			leave(1)
		}
	}()
	if err := carry(peer, offers, arguments, line); err != nil {
		fmt.Fprintln(os.Stderr, err)
		leave(70)
	}
	close(measured)
	<-closed
	leave(0)
}

func carry(peer Peer, offers Offers, arguments []string, line <-chan struct{}) error {
	folder := os.Getenv("FOLDER")
	place := Place{folder, 1, filepath.Join(folder, "ends")}
	if workers := os.Getenv("WORKERS"); workers != "" {
		place.Workers, _ = strconv.Atoi(workers)
	}
	file, err := os.OpenFile(place.Ends, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	ends := &ends{file: file, at: map[int]time.Time{}}
	if err := peer.Start(place); err != nil {
		return err
	}
	if _, err := flood(peer, offers, ends, 0, warmUp); err != nil {
		return err
	}
	fmt.Println("ready")
	<-line
	load, err := loaded(peer, offers, ends, arguments)
	if err != nil {
		return err
	}
	errors, err := peer.Mismatches(warmUp, load.events)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(summary(load, ends, warmUp, errors))
}

func loaded(peer Peer, offers Offers, ends *ends, arguments []string) (load, error) {
	numbers := make([]float64, len(arguments))
	for index, argument := range arguments[1:] {
		number, err := strconv.ParseFloat(argument, 64)
		if err != nil {
			return load{}, err
		}
		numbers[index] = number
	}
	if arguments[0] == "flood" {
		return flood(peer, offers, ends, warmUp, int(numbers[0]))
	}
	return steady(peer, offers, ends, warmUp, numbers[0], numbers[1])
}
