// SPDX-License-Identifier: Apache-2.0

// Command directory measures what it costs to read a large directory: a look for its accounts,
// the first round of a watch, rounds in which some or nothing has changed.
//
//	go run ./bench/directory [-accounts 100000]
//
// It starts a slapd of its own, fills it, and reads it over its socket. Each thing is done in a
// process of its own, so that its peak of memory is its own; the watch remembers in SQLite, as
// "tally up" does.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	wire "github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/internal/store"
)

func main() {
	accounts := flag.Int("accounts", 100_000, "how many accounts there are")
	role := flag.String("role", "", "used by the program itself")
	flag.Parse()
	err := error(nil)
	if *role == "" {
		err = measure(*accounts)
	} else {
		err = read(*role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "directory:", err)
		os.Exit(1)
	}
}

// A result is what a reader says in the end.
type result struct {
	Seen int
	Took time.Duration
}

// changedAccounts is how many accounts are changed before the round that reads them.
const changedAccounts = 100

func measure(accounts int) error {
	dir, err := os.MkdirTemp("", "bench-directory")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := start(dir, accounts)
	if err != nil {
		return err
	}
	defer func() {
		server.Process.Signal(os.Interrupt)
		server.Wait() // it is over either way
	}()
	fmt.Println("what                        seen      CPU s   wall s   peak MB   slapd's CPU s")
	for _, step := range []struct{ role, title string }{
		{"find", "look for accounts"}, {"watch", "first round"}, {"idle", "nothing has changed"}, {"change", ""},
		{"watch", fmt.Sprintf("%d accounts have changed", changedAccounts)}, {"idle", "nothing has changed"}, {"again", "everything once more"},
	} {
		if step.role == "change" {
			if err := change(dir); err != nil {
				return err
			}
			continue
		}
		before := cpuOf(server.Process.Pid)
		self, err := os.Executable()
		if err != nil {
			return err
		}
		reader := exec.Command(self, "-role", step.role)
		reader.Dir, reader.Stderr = dir, os.Stderr
		out, err := reader.Output()
		if err != nil {
			return err
		}
		var r result
		if err := json.Unmarshal(out, &r); err != nil {
			return err
		}
		state := reader.ProcessState
		usage := state.SysUsage().(*syscall.Rusage)
		fmt.Printf("%-24s %8d %9.2f %8.2f %9.1f %13.2f\n", step.title, r.Seen, (state.UserTime() + state.SystemTime()).Seconds(), r.Took.Seconds(),
			float64(usage.Maxrss)/1024, (cpuOf(server.Process.Pid) - before).Seconds())
	}
	return nil
}

// cpuOf is how long a process has computed (proc(5)).
func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var user, system int64
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * (time.Second / 100)
}

// read does one thing with the directory.
func read(role string) error {
	opened, err := ldap.Driver().Open(map[string]string{"url": "ldapi://" + socket("."), "external": "true", "timeout": "5m"})
	if err != nil {
		return err
	}
	ctx, began := context.Background(), time.Now()
	if role == "find" {
		sink := &counter{}
		err := opened.(driver.Finder).Find(ctx, driver.FindRequest{Now: time.Now}, sink)
		return say(result{sink.seen, time.Since(began)}, err)
	}
	path, err := filepath.Abs("memory.db")
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, path)
	if err != nil {
		return err
	}
	defer db.Close()
	position, err := os.ReadFile("position")
	if err != nil && role != "watch" {
		return err
	}
	if role == "again" { // as after a position that was lost: what is remembered is compared with all that is there
		position = []byte(`{"based":true,"base":"dc=lab,dc=test"}`)
	}
	sink := &remembering{db: db}
	_, err = opened.(driver.Watcher).Watch(ctx, driver.WatchRequest{Position: string(position), Now: time.Now, Memory: sink}, sink)
	if err == nil && sink.position != "" {
		err = os.WriteFile("position", []byte(sink.position), 0o600)
	}
	if err == nil {
		err = sink.trouble
	}
	return say(result{sink.seen, time.Since(began)}, err)
}

func say(r result, err error) error {
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// A counter counts sightings.
type counter struct{ seen int }

// Saw counts one.
func (c *counter) Saw(tallystick.Sighting) error { c.seen++; return nil }

// Missed is an error here.
func (c *counter) Missed(m tallystick.Miss) error { return fmt.Errorf("missed %+v", m) }

// Progress says nothing here.
func (c *counter) Progress(int64, int64) {}

// A remembering sink is as that of a source.
type remembering struct {
	db       *store.DB
	seen     int
	position string
	trouble  error
}

// Remembered reads what is remembered.
func (r *remembering) Remembered(ctx context.Context, keys []string) ([][]byte, error) {
	return r.db.Remembered(ctx, 1, keys)
}

// Take keeps what a batch asks for.
func (r *remembering) Take(b driver.WatchBatch) (int, error) {
	r.seen += len(b.Records)
	if b.Position != "" {
		r.position = b.Position
	}
	values := map[string][]byte{}
	for _, one := range b.Remember {
		values[one.Key] = one.Value
	}
	return len(b.Records), r.db.Remember(context.Background(), 1, values)
}

// Trouble is an error here.
func (r *remembering) Trouble(trouble driver.WatchTrouble) { r.trouble = trouble.Err }

func socket(dir string) string {
	path, err := filepath.Abs(filepath.Join(dir, "ldapi"))
	if err != nil {
		panic(err)
	}
	return path
}

// change sets certificates of some accounts.
func change(dir string) error {
	raw, err := net.Dial("unix", socket(dir))
	if err != nil {
		return err
	}
	conn := wire.NewConn(raw, false)
	conn.Start()
	defer conn.Close()
	if err := conn.ExternalBind(); err != nil {
		return err
	}
	for i := range changedAccounts {
		der, err := certificate()
		if err != nil {
			return err
		}
		request := wire.NewModifyRequest(fmt.Sprintf("uid=svc%06d,dc=lab,dc=test", i*7), nil)
		request.Add("userCertificate;binary", []string{string(der)})
		if err := conn.Modify(request); err != nil {
			return err
		}
	}
	return nil
}
