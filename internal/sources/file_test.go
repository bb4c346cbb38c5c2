// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
)

// tail adds a source that reads the file "log".
func (h *house) tail() { h.add(store.Source{Kind: store.SourceFile, Path: h.path("log")}) }

func TestAFileIsFollowed(t *testing.T) {
	h := newHouse(t)
	h.tail()
	h.write("log", records(0, 3)+record(3)[:40])
	w, err := h.newWatcher(h.Context(), h.source("edge"))
	must(t, err)
	look := func(n int) {
		t.Helper()
		_, err := w.pass(t.Context())
		must(t, err)
		h.wantIDs(n)
	}
	look(3) // the line without an end waits
	h.write("log", record(3)[40:])
	look(4)
	h.write("log", "{}\nno record\n"+record(4))
	look(5)
	one := h.source("edge")
	want := []string{"log:5: expected a time as RFC 3339 writes it, such as 2026-11-20T10:15:30Z", "log:6: expected a JSON object at byte 1"}
	if diff := cmp.Diff(want, one.Wrong); diff != "" || one.Malformed != 2 || one.Records != 5 || one.Duplicates != 0 || one.Heard.IsZero() {
		t.Errorf("%+v\n%s", one, diff)
	}
	for _, u := range h.uses() {
		if u.Source != "edge" || u.Side != tallystick.SideRelying {
			t.Errorf("%+v", u)
		}
	}
	raw, err := h.Archive.Find(t.Context(), one.ID, start, func(r []byte) bool { return bytes.Contains(r, []byte(`"r0"`)) })
	if err != nil || len(raw) != 1 || string(raw[0])+"\n" != record(0) {
		t.Errorf("%q, %v", raw, err)
	}
}

// A stop at any time goes on at the byte where it stood.
func TestAStartGoesOnWhereItStood(t *testing.T) {
	h := newHouse(t)
	h.tail()
	text := records(0, 20)
	for at := 0; at < len(text); at += 97 {
		h.write("log", text[at:min(at+97, len(text))])
		h.passes("edge", 2)
	}
	h.wantIDs(20)
	if one := h.source("edge"); one.Duplicates != 0 || one.Malformed != 0 {
		t.Errorf("%+v", one)
	}
}

// A crash between taking records in and storing the position, and any failure of
// either, loses nothing and makes nothing twice.
func TestNothingIsLostAndNothingTwice(t *testing.T) {
	h := newHouse(t)
	h.tail()
	h.write("log", records(0, 3))
	gone := errors.New("the disk has gone")
	for i, fault := range []struct{ err, after error }{{gone, nil}, {nil, gone}, {gone, nil}} {
		h.appends.fails(fault.err, fault.after)
		w, err := h.newWatcher(h.Context(), h.source("edge"))
		must(t, err)
		for range 3 {
			if _, err := w.pass(t.Context()); !errors.Is(err, gone) {
				t.Errorf("fault %d: %v", i, err)
			}
		}
		if i == 2 { // it goes on without a start
			h.appends.fails(nil, nil)
			_, err := w.pass(t.Context())
			must(t, err)
		}
	}
	h.wantIDs(3)
	h.write("log", records(3, 6))
	storetestBreak(h)
	w, err := h.newWatcher(h.Context(), h.source("edge"))
	must(t, err)
	if _, err := w.pass(t.Context()); err == nil { // appended, and the position is not stored
		t.Error("the position was stored in a table that is not there")
	}
	h.wantIDs(6)
	storetestMend(h)
	h.passes("edge", 1) // the process was killed there and starts
	h.wantIDs(6)
	if one := h.source("edge"); one.Duplicates < 3 {
		t.Errorf("what came twice is not counted: %+v", one)
	}
}

// storetestBreak keeps positions from being stored, as a database that is away would.
func storetestBreak(h *house) {
	h.exec(`CREATE TRIGGER away BEFORE UPDATE ON sources BEGIN SELECT RAISE(ABORT, 'away'); END`)
}

func storetestMend(h *house) { h.exec(`DROP TRIGGER away`) }

func TestAFileIsRotated(t *testing.T) {
	rename := func(h *house) { must(h.TB, os.Rename(h.path("log"), h.path("log.1"))) }
	copied := func(h *house) {
		text, err := os.ReadFile(h.path("log"))
		must(h.TB, errors.Join(err, os.WriteFile(h.path("log.1"), text, 0o600), os.Truncate(h.path("log"), 0)))
	}
	packed := func(suffix string) func(*house) {
		return func(h *house) {
			rename(h)
			h.pack("log.1", "log.1"+suffix)
		}
	}
	for name, rotate := range map[string]func(*house){"rename": rename, "copytruncate": copied, "gzip": packed(".gz"), "zstd": packed(".zst")} {
		for _, seen := range []bool{true, false} { // whether we looked before the rotation
			for _, started := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s seen=%t started=%t", name, seen, started), func(t *testing.T) {
					h := newHouse(t)
					h.tail()
					h.write("log", records(0, 40))
					h.passes("edge", 1)
					w, err := h.newWatcher(h.Context(), h.source("edge"))
					must(t, err)
					look := func() {
						if started {
							w, err = h.newWatcher(h.Context(), h.source("edge"))
							must(t, err)
						}
						h.age()
						_, err = w.pass(t.Context())
						must(t, err)
					}
					h.write("log", records(40, 45))
					if seen {
						look()
					}
					rotate(h)
					if seen {
						_, err = w.pass(t.Context())
						must(t, err)
					}
					h.write("log", records(45, 100))
					look()
					look()
					h.wantIDs(100)
					if one := h.source("edge"); one.Duplicates != 0 || one.Malformed != 0 || one.Error != "" {
						t.Errorf("%+v", one)
					}
				})
			}
		}
	}
}

// age makes files look as if nobody wrote to them just now.
func (h *house) age() {
	h.Helper()
	entries, err := os.ReadDir(h.dir)
	must(h.TB, err)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) < time.Minute {
			past := info.ModTime().Add(-time.Minute)
			must(h.TB, os.Chtimes(h.path(e.Name()), past, past))
		}
	}
}

// pack compresses a file and takes it away.
func (h *house) pack(from, to string) {
	h.Helper()
	text, err := os.ReadFile(h.path(from))
	must(h.TB, err)
	must(h.TB, os.WriteFile(h.path(to), packedText(h.TB, to, text), 0o600))
	must(h.TB, os.Remove(h.path(from)))
}

func packedText(t testing.TB, name string, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if strings.HasSuffix(name, ".zst") {
		e, err := zstd.NewWriter(&out)
		must(t, err)
		_, err = e.Write(text)
		must(t, errors.Join(err, e.Close()))
		return out.Bytes()
	}
	e := gzip.NewWriter(&out)
	_, err := e.Write(text)
	must(t, errors.Join(err, e.Close()))
	return out.Bytes()
}

// The writer has not made its new file yet: nothing is wrong for a moment.
func TestAFileIsAwayForAMoment(t *testing.T) {
	h := newHouse(t)
	h.tail()
	now := time.Now()
	h.Now = func() time.Time { return now }
	h.write("log", records(0, 2))
	h.passes("edge", 1)
	w, err := h.newWatcher(h.Context(), h.source("edge"))
	must(t, err)
	h.write("log", record(2))
	must(t, os.Rename(h.path("log"), h.path("log.1")))
	_, err = w.pass(t.Context())
	must(t, err)
	h.wantIDs(3)
	now = now.Add(11 * time.Second)
	if _, err = w.pass(t.Context()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	h.write("log", record(3))
	_, err = w.pass(t.Context())
	must(t, err)
	h.wantIDs(4)
}

func TestADirectory(t *testing.T) {
	h := newHouse(t)
	h.add(store.Source{Kind: store.SourceDirectory, Path: h.dir})
	h.write("a.ndjson", records(0, 2))
	h.write("deep/er/b.json", "["+strings.TrimSuffix(record(2), "\n")+",\n"+record(3)+"]")
	h.write("c.ndjson", strings.TrimSuffix(record(4), "\n")) // without an end
	must(t, os.WriteFile(h.path("d.ndjson.gz"), packedText(t, ".gz", []byte(records(5, 7))), 0o600))
	h.write(".hidden", records(90, 95))
	h.write("e.tmp", records(90, 95))
	h.write("f.log", "this is no log that anybody knows\n")
	must(t, os.WriteFile(h.path("g.gz"), packedText(t, ".gz", []byte(records(7, 2000)))[:9000], 0o600))
	must(t, errors.Join(os.Symlink("/etc/passwd", h.path("h.log")), syscall.Mkfifo(h.path("i.log"), 0o600)))
	old := time.Now().Add(-2 * time.Minute)
	must(t, filepath.Walk(h.dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			err = os.Chtimes(path, old, old)
		}
		return err
	}))
	w, err := h.newWatcher(h.Context(), h.source("edge"))
	must(t, err)
	for range 3 {
		_, err = w.pass(t.Context())
		must(t, err)
	}
	n := len(h.uses())
	h.wantIDs(n)
	if n < 20 {
		t.Errorf("of the file that ends in the middle nothing was read: %d", n)
	}
	one := h.source("edge")
	if one.Malformed != 2 || !strings.Contains(strings.Join(one.Wrong, "\n"), "f.log:0: couldn't recognise the format") ||
		!strings.Contains(strings.Join(one.Wrong, "\n"), "g.gz:") {
		t.Errorf("%d: %q", one.Malformed, one.Wrong)
	}
	h.write("a.ndjson", record(n))
	must(t, os.Remove(h.path("d.ndjson.gz")))
	h.passes("edge", 2)
	h.wantIDs(n + 1)
	if one := h.source("edge"); one.Duplicates != 0 || one.Malformed != 2 {
		t.Errorf("%+v", one)
	}
}

// A file that is read once is done, without its rotated parts.
func TestAnImport(t *testing.T) {
	h := newHouse(t)
	h.write("log", records(0, 3)+strings.Replace(record(3), `"id"`, `"source":"another","id"`, 1))
	h.write("log.1", records(50, 53))
	h.add(store.Source{Kind: store.SourceFile, Path: h.path("log"), Once: true, Settle: time.Minute})
	stop := h.run()
	defer stop()
	h.await("it is done", func() bool { return !h.source("edge").Done.IsZero() })
	h.wantIDs(4)
	books := h.ledger.Books()
	if len(books) != 2 || books[0].Source != "another" || !books[1].Closed.Equal(start.Add(3*time.Second-time.Minute)) {
		t.Errorf("%+v", books)
	}
}

// A log that never says so itself is closed behind what was read, also when
// nothing new comes, and is not while it cannot be read.
func TestALogIsClosed(t *testing.T) {
	h := newHouse(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	h.Now = func() time.Time { return now }
	h.add(store.Source{Kind: store.SourceFile, Path: h.path("log"), Settle: time.Minute})
	h.write("log", records(0, 1))
	w, err := h.newWatcher(h.Context(), h.source("edge"))
	must(t, err)
	closed := func(want time.Time) {
		t.Helper()
		_, err := w.pass(t.Context())
		must(t, err)
		if got := h.ledger.Books()[0].Closed; !got.Equal(want) {
			t.Errorf("closed up to %s, want %s", got, want)
		}
	}
	closed(now.Add(-time.Minute))
	now = now.Add(time.Hour)
	closed(now.Add(-time.Minute))
	before := now
	now = now.Add(time.Second) // not at each look
	closed(before.Add(-time.Minute))
	must(t, os.Rename(h.path("log"), h.path("log.1")))
	now = now.Add(5 * time.Second)
	closed(before.Add(-time.Minute))
}

func TestNobodyWritesIntoTheBookOfAnother(t *testing.T) {
	h := newHouse(t)
	h.tail()
	h.write("log", record(0)+`{"v":1,"source":"other","time":"2026-11-20T10:00:00Z","credential":["x5t:aa"]}
{"v":1,"side":"holder","time":"2026-11-20T10:00:00Z","credential":["x5t:aa"]}
{"v":1,"source":"other","side":"relying","closed":"2026-11-20T10:00:00Z"}
{"v":1,"source":"edge","side":"relying","closed":"2026-11-20T10:00:00Z"}
`)
	h.passes("edge", 1)
	h.wantIDs(1)
	books := h.ledger.Books()
	if one := h.source("edge"); one.Malformed != 3 || len(books) != 1 || !books[0].Closed.Equal(start) {
		t.Errorf("%+v\n%+v", one, books)
	}
}

// A line that is longer than any record takes no memory, also over a start.
func TestALineWithoutEnd(t *testing.T) {
	h := newHouse(t)
	h.tail()
	h.write("log", record(0))
	h.passes("edge", 1)
	f, err := os.OpenFile(h.path("log"), os.O_WRONLY, 0)
	must(t, err)
	info, err := f.Stat()
	must(t, err)
	must(t, errors.Join(f.Truncate(info.Size()+1<<27), f.Close())) // 128 MiB that take no disk
	h.passes("edge", 1)
	h.write("log", "\n"+record(1))
	h.passes("edge", 1)
	h.wantIDs(2)
	if one := h.source("edge"); one.Malformed != 1 || one.Wrong[0] != "log:2: expected a record of at most 16 MiB" {
		t.Errorf("%+v", one)
	}
}

func TestRunTakesUpWhatIsAdded(t *testing.T) {
	h := newHouse(t)
	stop := h.run()
	defer stop()
	h.write("log", records(0, 10_000))
	h.tail()
	h.await("all is read", func() bool { return h.source("edge").Records == 10_000 })
	if h.appends.largest > batchRecords {
		t.Errorf("a batch has %d records", h.appends.largest)
	}
	must(t, h.Pause(t.Context(), admin, "edge"))
	time.Sleep(2 * listEvery)
	h.write("log", record(10_000))
	time.Sleep(100 * time.Millisecond)
	if h.source("edge").Records != 10_000 {
		t.Error("a paused source is read")
	}
	must(t, h.Resume(t.Context(), admin, "edge"))
	h.await("it goes on", func() bool { return h.source("edge").Records == 10_001 })
	h.appends.fails(tallystick.ErrNoSpace, nil)
	h.write("log", record(10_001))
	h.await("its error shows", func() bool { return h.source("edge").Error != "" })
	h.appends.fails(nil, nil)
	h.await("it goes on again", func() bool { one := h.source("edge"); return one.Records == 10_002 && one.Error == "" })
	must(t, h.Remove(t.Context(), admin, "edge"))
}

// A holder's book comes with its lines, so that one that was changed shows.
func TestAHoldersBookIsFollowed(t *testing.T) {
	h := newHouse(t)
	lines := bookLines(t, 5)
	h.add(store.Source{Name: "broker", Kind: store.SourceFile, Side: tallystick.SideHolder, Path: h.path("log")})
	h.write("log", strings.Join(lines, ""))
	h.passes("broker", 1)
	one := h.ledger.Books()[0]
	if diff := cmp.Diff([]ledger.Span{{From: 1, To: 5}}, one.Chain.Proved); diff != "" || one.Chain.BrokenCount != 0 || one.LastSeq != 5 || one.Closed.IsZero() {
		t.Errorf("%+v\n%s", one, diff)
	}
	changed := newHouse(t)
	changed.add(store.Source{Name: "broker", Kind: store.SourceFile, Side: tallystick.SideHolder, Path: changed.path("log")})
	lines[2] = strings.Replace(lines[2], "x5t:", "x5u:", 1)
	changed.write("log", strings.Join(lines, ""))
	changed.passes("broker", 1)
	if one := changed.ledger.Books()[0]; one.Chain.BrokenCount == 0 {
		t.Errorf("%+v", one)
	}
}
