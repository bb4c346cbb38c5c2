// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// sends delivers a body.
func (h *house) sends(token, encoding string, body io.Reader) (Received, error) {
	h.Helper()
	return h.Receive(h.Context(), Delivery{Token: token, From: "192.0.2.1", Source: "edge", Encoding: encoding, Body: body})
}

func TestUseRecordsAreTakenIn(t *testing.T) {
	h := newHouse(t)
	token := h.add(store.Source{Kind: store.SourceHTTP, Settle: time.Minute})
	text := records(0, 5000) + "nonsense hunter2\n\r\n" +
		`{"v":1,"source":"other","time":"2026-11-20T10:00:00Z","credential":["x5t:aa"]}` + "\n" +
		`{"v":1,"side":"holder","time":"2026-11-20T10:00:00Z","credential":["x5t:aa"]}` + "\n" +
		`{"v":1,"level":"hunter2","time":"2026-11-20T10:00:00Z","credential":["x5t:aa"]}` + "\n" + strings.TrimSuffix(record(5000), "\n")
	for i, encoding := range []string{"", "gzip", "zstd", "identity"} {
		body := []byte(text)
		if encoding == "gzip" || encoding == "zstd" {
			body = packedText(t, map[string]string{"gzip": ".gz", "zstd": ".zst"}[encoding], body)
		}
		got, err := h.sends(token, encoding, bytes.NewReader(body))
		must(t, err)
		want := Received{Accepted: 5001, Malformed: []Malformed{
			{5001, "expected a JSON object at byte 1"}, {5003, errOtherBook.Error()},
			{5004, "expected a record of the relying side, as all of this file"}, {5005, "expected level signature, request, token or call"},
		}, MalformedCount: 4}
		if i > 0 {
			want.Accepted, want.Duplicates = 0, 5001
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", encoding, diff)
		}
	}
	h.wantIDs(5001)
	one := h.source("edge")
	if one.Records != 5001 || one.Duplicates != 3*5001 || one.Malformed != 16 || strings.Contains(strings.Join(one.Wrong, ""), "hunter2") {
		t.Errorf("%+v", one)
	}
	// A sender's book is closed behind what came, never by the clock.
	if closed := h.ledger.Books()[0].Closed; !closed.Equal(start.Add(5000*time.Second - time.Minute)) {
		t.Errorf("closed up to %s", closed)
	}
}

func TestWhoMayDeliver(t *testing.T) {
	h := newHouse(t)
	token := h.add(store.Source{Kind: store.SourceHTTP})
	other := h.add(store.Source{Name: "other", Kind: store.SourceHTTP})
	logs := h.add(store.Source{Name: "app", Kind: store.SourceOTLP})
	for name, row := range map[string]struct {
		token string
		want  error
	}{
		"its own": {token, nil}, "none": {"", tallystick.ErrUnsigned}, "unknown": {token[:len(token)-2] + "AA", tallystick.ErrUnsigned},
		"an API token": {"tally_" + strings.Repeat("A", 43), tallystick.ErrUnsigned}, "of another": {other, tallystick.ErrDenied},
		"of another kind": {logs, tallystick.ErrDenied}, "its hash": {h.source("edge").TokenHash, tallystick.ErrUnsigned},
	} {
		if _, err := h.sends(row.token, "", strings.NewReader(record(0))); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", name, err, row.want)
		}
	}
	h.wantIDs(1)
	records, err := h.audit.List(t.Context(), audit.Filter{}, 0, 100)
	must(t, err)
	refused := 0
	for _, r := range records {
		if !r.Allowed {
			refused++
		}
		if strings.Contains(fmt.Sprint(r), strings.TrimPrefix(token, tokenPrefix)[:20]) {
			t.Errorf("the audit log has a token: %+v", r)
		}
	}
	if refused != 6 {
		t.Errorf("%d of 6 refusals are on record", refused)
	}
	if _, err := h.ReceiveLogs(t.Context(), Delivery{Token: token, Body: strings.NewReader("")}, false); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("use records as logs: %v", err)
	}
	must(t, h.Pause(t.Context(), admin, "edge"))
	if _, err := h.sends(token, "", strings.NewReader(record(1))); !errors.Is(err, tallystick.ErrBusy) {
		t.Errorf("paused: %v", err)
	}
	must(t, h.Remove(t.Context(), admin, "edge"))
	if _, err := h.sends(token, "", strings.NewReader(record(1))); !errors.Is(err, tallystick.ErrUnsigned) {
		t.Errorf("removed: %v", err)
	}
}

// What cannot be made durable is not acknowledged, and comes again.
func TestAFullDiskIsTold(t *testing.T) {
	h := newHouse(t)
	token := h.add(store.Source{Kind: store.SourceHTTP})
	h.appends.fails(tallystick.ErrNoSpace, nil)
	if _, err := h.sends(token, "", strings.NewReader(records(0, 3))); !errors.Is(err, tallystick.ErrBusy) {
		t.Error(err)
	}
	if why := h.source("edge").Error; !strings.Contains(why, "no space") {
		t.Errorf("the source says %q", why)
	}
	h.appends.fails(nil, nil)
	storetestBreak(h)
	if _, err := h.sends(token, "", strings.NewReader(records(0, 3))); !errors.Is(err, tallystick.ErrBusy) {
		t.Error(err)
	}
	storetestMend(h)
	got, err := h.sends(token, "", strings.NewReader(records(0, 4)))
	if err != nil || got.Accepted != 1 || got.Duplicates != 3 || h.source("edge").Error != "" {
		t.Errorf("%+v, %v", got, err)
	}
	h.wantIDs(4)
}

// A zeros is a body of zero bytes without a newline.
type zeros int64

func (z *zeros) Read(p []byte) (int, error) {
	if *z <= 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), int64(*z))
	clear(p[:n])
	*z -= zeros(n)
	return int(n), nil
}

// bomb returns a gigabyte in a megabyte.
func bomb(t *testing.T, encoding string) []byte {
	t.Helper()
	piece := make([]byte, 1<<20)
	piece[len(piece)-1] = '\n'
	packed := packedText(t, encoding, piece)
	return bytes.Repeat(packed, 1<<10) // both formats allow several, one behind the other
}

func TestHostileBodies(t *testing.T) {
	h := newHouse(t)
	token := h.add(store.Source{Kind: store.SourceHTTP})
	gigabyte := zeros(1 << 30)
	for name, row := range map[string]struct {
		encoding string
		body     io.Reader
		want     error
	}{
		"a gigabyte":            {"", &gigabyte, ErrTooLarge},
		"a bomb":                {"gzip", bytes.NewReader(bomb(t, ".gz")), ErrTooLarge},
		"a bomb of zstd":        {"zstd", bytes.NewReader(bomb(t, ".zst")), ErrTooLarge},
		"not gzip":              {"gzip", strings.NewReader(record(0)), tallystick.ErrInvalid},
		"not zstd":              {"zstd", strings.NewReader(record(0)), tallystick.ErrInvalid},
		"gzip that is cut off":  {"gzip", bytes.NewReader(packedText(t, ".gz", []byte(records(0, 100)))[:300]), tallystick.ErrInvalid},
		"an encoding of others": {"br", strings.NewReader(record(0)), ErrEncoding},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			if _, err := h.sends(token, row.encoding, row.body); !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
			runtime.ReadMemStats(&after)
			if grown := (int64(after.HeapSys) - int64(before.HeapSys)) >> 20; grown > 128 {
				t.Errorf("it took %d MiB", grown)
			}
		})
	}
}

// A sender that is slow holds up no other, but cannot come too often.
func TestSlowSenders(t *testing.T) {
	h := newHouse(t)
	token := h.add(store.Source{Kind: store.SourceHTTP})
	var pipes []*io.PipeWriter
	ended := make(chan error, maxReceiving)
	for range maxReceiving {
		r, w := io.Pipe()
		pipes = append(pipes, w)
		go func() { _, err := h.sends(token, "", r); ended <- err }()
		_, err := w.Write([]byte(record(0)[:10]))
		must(t, err)
	}
	if _, err := h.sends(token, "", strings.NewReader(record(1))); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	other := h.add(store.Source{Name: "other", Kind: store.SourceHTTP})
	if _, err := h.Receive(t.Context(), Delivery{Token: other, Body: strings.NewReader("")}); err != nil {
		t.Error(err)
	}
	for _, w := range pipes {
		must(t, w.CloseWithError(io.ErrUnexpectedEOF)) // it hangs up
		if err := <-ended; !errors.Is(err, tallystick.ErrInvalid) {
			t.Error(err)
		}
	}
	got, err := h.sends(token, "", strings.NewReader(record(0)))
	if err != nil || got.Accepted != 1 {
		t.Error(got, err)
	}
}

func TestWhatIsNoSource(t *testing.T) {
	h := newHouse(t)
	good := store.Source{Name: "a", Kind: store.SourceFile, Side: tallystick.SideHolder, Path: "/x"}
	for name, change := range map[string]func(*store.Source){
		"name": func(s *store.Source) { s.Name = "a/b" }, "no name": func(s *store.Source) { s.Name = "" },
		"kind": func(s *store.Source) { s.Kind = "pigeon" }, "side": func(s *store.Source) { s.Side = "both" },
		"path": func(s *store.Source) { s.Path = "x" }, "no path": func(s *store.Source) { s.Path = "" },
		"format": func(s *store.Source) { s.Format = "ngink" }, "settle": func(s *store.Source) { s.Settle = -1 },
		"path of a sender":    func(s *store.Source) { s.Kind = store.SourceHTTP },
		"order of a sender":   func(s *store.Source) { s.Kind, s.Path, s.Format = store.SourceHTTP, "", "openldap" },
		"syslog of no sender": func(s *store.Source) { s.Kind, s.Path, s.Format = store.SourceSyslog, "", "samba" },
	} {
		one := good
		change(&one)
		if _, _, err := h.Add(t.Context(), admin, one, ""); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := h.Add(t.Context(), gate.Actor{Name: "eve", Role: gate.Operator}, good, ""); !errors.Is(err, tallystick.ErrDenied) {
		t.Error(err)
	}
	h.add(good)
	if _, _, err := h.Add(t.Context(), admin, good, ""); !errors.Is(err, tallystick.ErrConflict) {
		t.Error(err)
	}
	syslog := store.Source{Name: "s", Kind: store.SourceSyslog, Side: tallystick.SideRelying, Format: "samba"}
	print := strings.Repeat("AB:", 31) + "AB"
	if _, added, err := h.Add(t.Context(), admin, syslog, print); err != nil || added.TokenHash != CertificatePrefix+strings.Repeat("ab", 32) {
		t.Error(added, err)
	}
	syslog.Name = "s2"
	if _, _, err := h.Add(t.Context(), admin, syslog, print); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("one certificate for two: %v", err)
	}
	for _, err := range []error{h.Remove(t.Context(), admin, "none"), h.Pause(t.Context(), admin, "none"), h.Resume(t.Context(), admin, "none")} {
		if !errors.Is(err, tallystick.ErrNotFound) {
			t.Error(err)
		}
	}
}
