// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

// run lets a book run while do lasts, and returns what Run returned.
func run(t *testing.T, b *Book, do func()) error {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	do()
	stop()
	return <-ended
}

func open(t *testing.T, c Config) *Book {
	t.Helper()
	b, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// lines reads a book as a stranger would.
func lines(t *testing.T, text []byte) (all []map[string]any) {
	t.Helper()
	for line := range bytes.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, m)
	}
	return all
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestUsesAreWrittenAndTheBookIsClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uses.ndjson")
	config := Config{Source: "mailer-1", Holder: "mailer", File: path, Credential: []string{"x5t:abc"}}
	for range 2 { // the second time the numbers go on
		b := open(t, config)
		err := run(t, b, func() {
			b.Record(tallystick.Use{RelyingParty: "ldap:127.0.0.1:389", Outcome: tallystick.OutcomeSuccess})
			b.Record(tallystick.Use{RelyingParty: "ldap:127.0.0.1:389", IDs: tallystick.UseIDs{Session: "7"}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	text := read(t, path)
	if n, err := Verify(bytes.NewReader(text)); n != 4 || err != nil {
		t.Errorf("the book verifies as %d uses, %v; want 4", n, err)
	}
	all := lines(t, text)
	if len(all) != 6 {
		t.Fatalf("%d lines, want four uses and two closing marks", len(all))
	}
	second := all[4]
	for _, volatile := range []string{"time", "hash"} {
		delete(second, volatile)
	}
	want := map[string]any{
		"v": 1.0, "source": "mailer-1", "seq": 4.0, "side": "holder", "credential": []any{"x5t:abc"}, "holder": "mailer",
		"relying_party": "ldap:127.0.0.1:389", "ids": map[string]any{"session": "7"},
	}
	if d := cmp.Diff(want, second); d != "" {
		t.Errorf("the fourth use:\n%s", d)
	}
	if last := all[5]; last["closed"] == nil || last["last"] != 4.0 || last["seq"] != nil {
		t.Errorf("the closing mark is %v", last)
	}
}

// Every prefix of a book is what a crash may leave. The book opens again, keeps
// every whole line, and goes on so that it verifies.
func TestACrashAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "whole")
	b := open(t, Config{Source: "s", File: path})
	if err := run(t, b, func() {
		for range 3 {
			b.Record(tallystick.Use{Credential: []string{"ssh:x"}})
		}
	}); err != nil {
		t.Fatal(err)
	}
	whole := read(t, path)
	for cut := range len(whole) + 1 {
		path := filepath.Join(dir, "cut")
		torn := append(bytes.Clone(whole[:cut]), make([]byte, cut%3)...) // zeros for what was lost
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		out, last, err := openFile(path, "s")
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if err := errors.Join(out.append(last.appendUse(nil, &tallystick.Use{Source: "s", Credential: []string{"ssh:y"}})), out.close(t.Context())); err != nil {
			t.Fatal(err)
		}
		text := read(t, path)
		n, err := Verify(bytes.NewReader(text))
		kept := int64(bytes.Count(whole[:cut], []byte("\n")))
		if kept > 3 {
			kept = 3 // the last line is the closing mark
		}
		if n != kept+1 || err != nil {
			t.Fatalf("cut at %d: %d uses, %v; want %d", cut, n, err, kept+1)
		}
	}
}

func TestTamperingShows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uses")
	b := open(t, Config{Source: "s", File: path})
	if err := run(t, b, func() {
		for n := range 4 {
			b.Record(tallystick.Use{Credential: []string{"ssh:x"}, Detail: fmt.Sprint("use ", n)})
		}
	}); err != nil {
		t.Fatal(err)
	}
	text := string(read(t, path))
	all := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	var part Follower // a part of a book is followed from where it begins
	for n, line := range append(all[1:3:3], all[4]) {
		if err := part.Follow([]byte(line)); (err == nil) != (n < 2) || err != nil && !strings.Contains(err.Error(), "4 follows record 3: a record between") && !strings.Contains(err.Error(), "behind record 4 follows record 3") {
			t.Errorf("line %d of a part: %v", n+1, err)
		}
	}
	for name, changed := range map[string]string{
		"a line removed":  all[0] + all[2] + all[3] + all[4],
		"a line doubled":  all[0] + all[0] + strings.Join(all[1:], ""),
		"lines exchanged": all[1] + all[0] + strings.Join(all[2:], ""),
		"a word changed":  strings.Replace(text, "use 2", "use 9", 1),
		"a beginning cut": strings.Join(all[1:], ""),
		"a hash changed":  strings.Replace(text, `"hash":"`, `"hash":"0`, 1),
		"a foreign line":  text + "{}\n",
	} {
		if _, err := Verify(strings.NewReader(changed)); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

// A tiny disk takes what it has room for.
type tinyDisk struct {
	mu    sync.Mutex
	lines []byte // guarded by mu
	full  bool   // guarded by mu
}

func (d *tinyDisk) append(lines []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return errors.New("no space left on device")
	}
	d.lines = append(d.lines, lines...)
	return nil
}

func (d *tinyDisk) sendError() error          { return nil }
func (d *tinyDisk) malformed() (int64, error) { return 0, nil }

func (d *tinyDisk) fill(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

func (d *tinyDisk) run(context.Context)         {}
func (d *tinyDisk) close(context.Context) error { return nil }

// While the disk is full nothing waits for it, memory is bounded, and every use
// is in the book afterwards: as a record, in a count, or as lost.
func TestAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Config{Source: "s", File: filepath.Join(t.TempDir(), "x"), Memory: 10})
		disk := &tinyDisk{full: true}
		if err := b.out.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.out = disk
		const parties = maxCounts + 5
		total := 0
		err := run(t, b, func() {
			time.Sleep(time.Second)
			for n := range 3 * parties {
				b.Record(tallystick.Use{Credential: []string{"ssh:x"}, RelyingParty: fmt.Sprint("ldap:", n%parties)})
				total++
			}
			time.Sleep(time.Minute)
			if s := b.Status(); s.Err == nil || s.Waiting > 10 || s.Lost == 0 {
				t.Errorf("with a full disk the book says %+v", s)
			}
			disk.fill(false)
			time.Sleep(time.Minute)
			if s := b.Status(); s.Err != nil || s.Waiting != 0 {
				t.Errorf("with room again the book says %+v", s)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		uses, err := Verify(bytes.NewReader(disk.lines))
		if err != nil {
			t.Fatal(err)
		}
		gone := 0.0
		for _, line := range lines(t, disk.lines) {
			if n, ok := line["lost"].(float64); ok {
				gone += n
			}
		}
		if int(uses)+int(gone) != total || gone == 0 {
			t.Errorf("%d uses and %v lost of %d", uses, gone, total)
		}
	})
}

// A book is not closed past a use that has begun and not ended, unless it lasts
// for ever.
func TestALongUseHoldsTheBookOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &tinyDisk{}
		b := open(t, Config{Source: "s", File: filepath.Join(t.TempDir(), "x")})
		if err := b.out.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.out = disk
		start := time.Now()
		err := run(t, b, func() {
			began := b.Begin()
			time.Sleep(5 * time.Minute)
			began.End(&tallystick.Use{Credential: []string{"ssh:x"}})
			b.Begin() // and never ends
			time.Sleep(time.Hour)
		})
		if err != nil {
			t.Fatal(err)
		}
		var closed time.Time
		for _, line := range lines(t, disk.lines) {
			if text, ok := line["closed"].(string); ok {
				if closed, err = time.Parse(time.RFC3339Nano, text); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if closed.After(start) {
				t.Errorf("the book was closed up to %v, and then a use of %v came", closed, start)
			}
		}
		if closed.Sub(start) < 50*time.Minute {
			t.Errorf("a use that never ends holds the book at %v", closed.Sub(start))
		}
	})
}

func TestABookHasOneWriterAndOneSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uses")
	b := open(t, Config{Source: "s", File: path})
	if _, err := Open(Config{Source: "s", File: path}); !errors.Is(err, tallystick.ErrInUse) {
		t.Errorf("a second writer gets %v, want ErrInUse", err)
	}
	if err := run(t, b, func() { b.Record(tallystick.Use{}) }); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Source: "other", File: path}); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("another source gets %v, want ErrConflict", err)
	}
}

func TestSenselessBooks(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("a file of somebody else"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"no source": {File: filepath.Join(dir, "a")}, "nowhere": {Source: "s"}, "both": {Source: "s", File: "a", URL: "https://x", Spool: "b"},
		"no spool": {Source: "s", URL: "https://x"}, "plain text": {Source: "s", URL: "http://192.0.2.1/", Spool: filepath.Join(dir, "b")},
		"a password": {Source: "s", URL: "https://a:b@x/", Spool: filepath.Join(dir, "c")}, "not a book": {Source: "s", File: other},
	} {
		if _, err := Open(c); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if string(read(t, other)) != "a file of somebody else" {
		t.Error("a file that is no book was changed")
	}
}

func BenchmarkRecord(b *testing.B) {
	book, err := Open(Config{Source: "s", File: filepath.Join(b.TempDir(), "uses")})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- book.Run(ctx) }()
	use := tallystick.Use{Credential: []string{"x5t:abc"}, RelyingParty: "ldap:127.0.0.1:389"}
	for b.Loop() {
		book.Record(use)
	}
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
