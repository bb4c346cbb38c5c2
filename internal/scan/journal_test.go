// SPDX-License-Identifier: Apache-2.0

package scan_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/internal/scan"
	"github.com/tallystick/tallystick/parse"
)

// A teller is a finder with a fixed number of endpoints. It is stopped by its
// test after some of them.
type teller struct {
	credential tallystick.Credential
	stop       context.CancelFunc
	after      int
	asked      *[]string
	together   int
}

func (teller) Grammar() network.Grammar {
	return network.Grammar{Schemes: map[string]uint16{"tls": 0}, Ports: []uint16{443}}
}

func (f teller) Find(ctx context.Context, request driver.FindRequest, sink driver.Sink) error {
	targets, err := f.Grammar().Parse(ctx, request.Targets, nil)
	if err != nil {
		return err
	}
	look := network.Look{Targets: targets, Resume: request.Resume, Concurrency: f.together, Sink: sink}
	return look.Each(ctx, func(ctx context.Context, e network.Endpoint) error {
		*f.asked = append(*f.asked, e.Host)
		if f.after > 0 && len(*f.asked) == f.after {
			f.stop()
		}
		if strings.HasSuffix(e.Host, "7") {
			return sink.Missed(tallystick.Miss{Place: tallystick.TLSPlace(e.HostPort()), Error: "refused", Seen: request.Now()})
		}
		return sink.Saw(tallystick.Sighting{
			Credential: f.credential, Place: tallystick.TLSPlace(e.HostPort()), Role: tallystick.RolePresents, Seen: request.Now(),
			Chain: []tallystick.Credential{f.credential},
			Facts: tallystick.Facts{TLS: &tallystick.TLSFacts{Protocols: []string{"tls1.2"}}},
		})
	})
}

// journey is one scan of a block of 64 with a resume file, stopped after some
// endpoints, or not at all with 0. It returns what was found and was asked.
func journey(t *testing.T, file string, after int) (found []string, asked []string, complete bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	credential := parse.Bytes("x.pem", pinned, nil).Items[0].Credential
	f := teller{credential: credential, stop: cancel, after: after, asked: &asked, together: 1}
	s := scan.New(scan.Options{
		Drivers: []driver.Driver{driver.New("tls", "a teller", func(struct{}) (teller, error) { return f, nil })},
		Now:     func() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) }, Progress: silent{},
	})
	targets := sorted(t, s, "10.0.0.0/26")
	if err := s.Resume(file, targets); err != nil {
		t.Fatal(err)
	}
	if err := s.Look(ctx, targets); err != nil {
		t.Fatal(err)
	}
	result, err := s.Judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for f := range result.All() {
		found = append(found, fmt.Sprintf("%s %d %s %v", f.Place, len(f.Chain), f.Credential.Subject, f.TLS.Protocols))
	}
	for _, m := range result.Misses {
		found = append(found, fmt.Sprintf("%s %s", m.Place, m.Error))
	}
	complete = ctx.Err() == nil
	if err := s.Finish(complete); err != nil {
		t.Fatal(err)
	}
	return found, asked, complete
}

// pinned is one certificate for all scans of a journey, so that they can be compared.
var pinned = []byte(`-----BEGIN CERTIFICATE-----
MIIBiDCCAS2gAwIBAgIUBltX6Bc4GPjRoeWWQlViM5VArwkwCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOcGlubmVkLmV4YW1wbGUwHhcNMjYxMTIyMTAwODU1WhcNMzYx
MTE5MTAwODU1WjAZMRcwFQYDVQQDDA5waW5uZWQuZXhhbXBsZTBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABGXthGOdUnF0Qk0gVnhUQASV/vfPwmssN7ZHNTrD0Af/
IeEVwLNxTK+n/HxZyripeu17fZnuw6w1axD0ookgDLSjUzBRMB0GA1UdDgQWBBTn
3qBnG3BCcDS2fl6/ojVY9wpPZjAfBgNVHSMEGDAWgBTn3qBnG3BCcDS2fl6/ojVY
9wpPZjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQDdfToSVgRK
4ayIzWV8525+pRzyM8qJYb7px+McAN8wbQIhANluZtht1scdTN479AT7dZ8FTFo9
UHdLR17yNXXF7VMi
-----END CERTIFICATE-----
`)

func TestAScanGoesOn(t *testing.T) {
	dir := t.TempDir()
	want, _, _ := journey(t, filepath.Join(dir, "whole"), 0)
	file := filepath.Join(dir, "parts")
	total, runs := 0, 0
	var got []string
	for complete := false; !complete; runs++ {
		if runs > 20 {
			t.Fatal("it does not come to an end")
		}
		var asked []string
		got, asked, complete = journey(t, file, 10)
		total += len(asked)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a scan in %d parts found something else (-whole +parts):\n%s", runs, diff)
	}
	if runs < 6 || total > 64+runs {
		t.Errorf("%d parts asked %d endpoints of 64", runs, total)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there after the end: %v", err)
	}
}

// A scan that was killed has cut its last entry off anywhere.
func TestAScanGoesOnAfterItWasKilled(t *testing.T) {
	dir := t.TempDir()
	want, _, _ := journey(t, filepath.Join(dir, "whole"), 0)
	file := filepath.Join(dir, "killed")
	journey(t, file, 20)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(text, []byte(`"raw"`)) != 1 {
		t.Errorf("a credential stands %d times in the file", bytes.Count(text, []byte(`"raw"`)))
	}
	first := bytes.IndexByte(text, '\n') + 1
	for length := first; length < len(text); length += 97 {
		if err := os.WriteFile(file, text[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		got, _, _ := journey(t, file, 0)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("cut at %d of %d bytes (-whole +killed):\n%s", length, len(text), diff)
		}
	}
}

func TestAResumeFileOfSomethingElse(t *testing.T) {
	dir := t.TempDir()
	s := newScan()
	file := filepath.Join(dir, "one")
	if err := s.Resume(file, sorted(t, s, "10.0.0.0/30")); err != nil {
		t.Fatal(err)
	}
	other := newScan()
	if err := other.Resume(file, sorted(t, other, "10.0.0.0/30")); !errors.Is(err, tallystick.ErrInUse) {
		t.Errorf("a file in use gives %v", err)
	}
	if err := s.Finish(false); err != nil {
		t.Fatal(err)
	}
	if err := other.Resume(file, sorted(t, other, "10.0.0.0/29")); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a file of other targets gives %v", err)
	}
	for _, text := range []string{"notes\n", "{}", `{"driver":"tls"}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := other.Resume(file, sorted(t, other, "10.0.0.0/30")); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("a file with %q gives %v", text, err)
		}
		if kept, err := os.ReadFile(file); err != nil || string(kept) != text {
			t.Errorf("it was changed to %q", kept)
		}
	}
}
