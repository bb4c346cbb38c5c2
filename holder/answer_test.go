// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
)

// picky is a server that calls lines malformed: all of them because its source
// has another name while strange is set, and else the uses of "https:bad:1".
type picky struct {
	strange atomic.Bool
	tries   atomic.Int64
	taken   atomic.Int64 // uses
}

func (p *picky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.tries.Add(1)
	body, _ := io.ReadAll(r.Body)
	var said struct {
		Malformed []map[string]any `json:"malformed"`
		Count     int              `json:"malformed_count"`
	}
	n := 0
	for line := range bytes.Lines(body) {
		n++
		expected := ""
		switch {
		case p.strange.Load():
			expected = "expected a record whose source is the name of this source, or none"
		case bytes.Contains(line, []byte("https:bad:1")):
			expected = "expected something else\xff" + strings.Repeat("x", 1000)
		case !bytes.Contains(line, []byte(`"closed"`)):
			p.taken.Add(1)
		}
		if expected != "" {
			said.Count++
			said.Malformed = append(said.Malformed, map[string]any{"line": n, "expected": expected})
		}
	}
	_ = json.NewEncoder(w).Encode(said)
}

func servePicky(t *testing.T) (*picky, Config) {
	t.Helper()
	p := &picky{}
	server := httptest.NewTLSServer(p)
	t.Cleanup(server.Close)
	return p, Config{Source: "s", URL: server.URL, Spool: filepath.Join(t.TempDir(), "spool"), Client: server.Client(), Credential: []string{"ssh:x"}}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come to be that ", what)
		}
	}
}

func TestABookOfAnotherNameIsKeptUntilItIsTaken(t *testing.T) {
	p, config := servePicky(t)
	p.strange.Store(true)
	b := open(t, config)
	err := run(t, b, func() {
		b.Record(tallystick.Use{})
		eventually(t, "the refusal is told", func() bool { return b.Status().SendErr != nil })
	})
	for _, told := range []error{err, b.Status().SendErr} {
		if told == nil || !strings.Contains(told.Error(), "whose source is the name of this source") || !strings.Contains(told.Error(), `"s"`) {
			t.Errorf("told is %v", told)
		}
	}
	if n := p.tries.Load(); n > 3 {
		t.Errorf("it was tried %d times within moments", n)
	}
	kept, globErr := filepath.Glob(filepath.Join(config.Spool, "*"+segmentSuffix))
	if len(kept) == 0 || globErr != nil || b.Status().Malformed != 0 {
		t.Errorf("kept are %v, %v; status %+v", kept, globErr, b.Status())
	}
	p.strange.Store(false)
	b = open(t, config)
	if err := run(t, b, func() { eventually(t, "the use arrives", func() bool { return p.taken.Load() == 1 }) }); err != nil {
		t.Error(err)
	}
}

func TestLinesThatCannotBeUsedAreTold(t *testing.T) {
	p, config := servePicky(t)
	b := open(t, config)
	err := run(t, b, func() {
		for n := range 7 {
			b.Record(tallystick.Use{RelyingParty: fmt.Sprintf("https:%s:1", []string{"good", "bad"}[n%2])})
		}
		eventually(t, "three are counted", func() bool { return b.Status().Malformed == 3 })
	})
	status := b.Status()
	for _, told := range []error{err, status.MalformedErr} {
		if told == nil || !strings.Contains(told.Error(), "something else") || len(told.Error()) > 500 {
			t.Errorf("told is %v", told)
		}
	}
	if status.Malformed != 3 || status.SendErr != nil || p.taken.Load() != 4 {
		t.Errorf("%+v, and %d taken", status, p.taken.Load())
	}
}

func TestOneLineThatCannotBeUsedHoldsNothingUp(t *testing.T) {
	p, config := servePicky(t)
	b := open(t, config)
	_ = run(t, b, func() {
		b.Record(tallystick.Use{RelyingParty: "https:bad:1"})
		eventually(t, "it is counted", func() bool { return b.Status().Malformed == 1 })
		b.Record(tallystick.Use{RelyingParty: "https:good:1"})
		eventually(t, "the next one arrives", func() bool { return p.taken.Load() == 1 })
	})
}
