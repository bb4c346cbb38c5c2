// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
)

// A shelf is a server that takes books. While it is away it answers 503, and
// when the book is strange to it 401; when it is deaf it takes the lines and its answer is lost.
type shelf struct {
	mu    sync.Mutex
	state string         // guarded by mu
	lines [][]byte       // guarded by mu; each once
	known map[string]int // guarded by mu; how often each line came
	keys  []string       // guarded by mu
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.state == "away" {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if s.state == "strange" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.keys = append(s.keys, r.Header.Get("Authorization"))
	for line := range bytes.Lines(body) {
		if s.known[string(line)]++; s.known[string(line)] == 1 {
			s.lines = append(s.lines, bytes.Clone(line))
		}
	}
	if s.state == "deaf" {
		s.state = ""
		panic(http.ErrAbortHandler)
	}
}

func (s *shelf) set(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

func (s *shelf) uses(t *testing.T) int64 {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := Verify(bytes.NewReader(bytes.Join(s.lines, nil)))
	if err != nil {
		t.Fatalf("what the server has does not verify: %v", err)
	}
	return n
}

func serve(t *testing.T) (*shelf, Config) {
	t.Helper()
	s := &shelf{known: map[string]int{}}
	server := httptest.NewTLSServer(s)
	t.Cleanup(server.Close)
	return s, Config{
		Source: "s", URL: server.URL + "/books", Token: "key", Spool: filepath.Join(t.TempDir(), "spool"),
		Client: server.Client(), Credential: []string{"ssh:x"},
	}
}

func (s *shelf) await(t *testing.T, n int64) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); s.uses(t) != n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the server has %d uses, want %d", s.uses(t), n)
		}
	}
}

func TestUsesReachTheServer(t *testing.T) {
	s, config := serve(t)
	b := open(t, config)
	err := run(t, b, func() {
		b.Record(tallystick.Use{})
		s.await(t, 1)
		s.set("deaf")
		b.Record(tallystick.Use{})
		s.await(t, 2)
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.keys[0] != "Bearer key" {
		t.Errorf("the server was shown %q", s.keys[0])
	}
	twice := 0
	for _, n := range s.known {
		twice += n - 1
	}
	if twice == 0 {
		t.Error("what the server took without answering was not sent again")
	}
}

func TestWhatWasNotSentIsSentByTheNext(t *testing.T) {
	s, config := serve(t)
	s.set("away")
	for range 2 {
		b := open(t, config)
		if err := run(t, b, func() { b.Record(tallystick.Use{}) }); err == nil || !strings.Contains(err.Error(), config.Spool) || !strings.Contains(err.Error(), "503") {
			t.Errorf("a book that could not be sent ends with %v", err)
		}
	}
	s.set("")
	for n := range 2 { // the second time nothing waits, and the numbers still go on
		b := open(t, config)
		if err := run(t, b, func() {
			b.Record(tallystick.Use{})
			s.await(t, int64(3+n))
		}); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(config.Spool, "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("%v are left in the spool, %v; want the lock and what was sent last", left, err)
	}
}

func TestAServerThatRefusesIsTold(t *testing.T) {
	s, config := serve(t)
	s.set("strange")
	config.URL += "?key=secret"
	b := open(t, config)
	err := run(t, b, func() {
		b.Record(tallystick.Use{})
		for end := time.Now().Add(20 * time.Second); b.Status().SendErr == nil && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
		if status := b.Status(); status.Err != nil || status.SendErr == nil || !strings.Contains(status.SendErr.Error(), "401") {
			t.Errorf("%+v, want the server's answer, and that the records are written", status)
		}
	})
	if err == nil || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error(), "secret") {
		t.Errorf("the book ends with %v", err)
	}
	s.set("")
	b = open(t, config)
	if err := run(t, b, func() { s.await(t, 1) }); err != nil || b.Status().SendErr != nil {
		t.Errorf("%v, %+v once the server takes the book", err, b.Status())
	}
}

func TestASpoolIsBounded(t *testing.T) {
	s, config := serve(t)
	s.set("away")
	config.SpoolBytes = segmentBytes
	b := open(t, config)
	const total = 60_000
	err := run(t, b, func() {
		for n := range total {
			b.Record(tallystick.Use{RelyingParty: fmt.Sprint("ldap:", n%7)})
			if n%1000 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		time.Sleep(time.Second)
		var size int64
		entries, err := os.ReadDir(config.Spool)
		if err != nil {
			t.Error(err)
		}
		for _, entry := range entries {
			if info, err := entry.Info(); err == nil {
				size += info.Size()
			}
		}
		if size > config.SpoolBytes || b.Status().Err == nil {
			t.Errorf("the spool has %d bytes of %d, status %+v", size, config.SpoolBytes, b.Status())
		}
	})
	if err == nil {
		t.Error("a book that could not be written ends without a word")
	}
}
