// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The categories of logs that diagnostic settings can export here.
const (
	CategorySignIns       = "ServicePrincipalSignInLogs"
	CategoryAudits        = "AuditLogs"
	CategoryGraphActivity = "MicrosoftGraphActivityLogs"
)

// Diagnostics are the diagnostic settings of all tenants: they export logs in the
// envelope in which an event hub and a storage account get them. A call of Graph
// is noted by them alone.
type Diagnostics struct {
	world   *World
	latency Latency

	mu    sync.Mutex
	calls map[string][]exportedCall // by tenant; guarded by mu
}

type exportedCall struct {
	call     Call
	readable time.Time
}

// NewDiagnostics notes the calls of Graph from now on. Latency draws how late the
// record of a call is; nil: some minutes, and hours for one in ten.
func (w *World) NewDiagnostics(latency Latency) *Diagnostics {
	if latency == nil {
		latency = func(r *rand.Rand) time.Duration {
			if r.IntN(10) == 0 {
				return time.Duration(r.Int64N(int64(3 * time.Hour)))
			}
			return time.Minute + time.Duration(r.Int64N(int64(20*time.Minute)))
		}
	}
	d := &Diagnostics{world: w, latency: latency, calls: map[string][]exportedCall{}}
	w.OnCall(d.note)
	return d
}

func (d *Diagnostics) note(c Call) {
	if c.Service != ServiceGraph {
		return
	}
	readable := c.Time.Add(d.world.late(d.latency))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls[c.Tenant.ID] = append(d.calls[c.Tenant.ID], exportedCall{c, readable})
}

// An exported is a line and when it came.
type exported struct {
	at   time.Time
	line any
}

// Lines returns what came of a category from one time until before another, one
// JSON object a line, in the order in which it came: which is not that of the
// events. What cannot be read yet is not there.
func (d *Diagnostics) Lines(t *Tenant, category string, from, until time.Time) ([]byte, error) {
	all, err := d.records(t, category)
	if err != nil {
		return nil, err
	}
	now := d.world.Now()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	for _, e := range all {
		if e.at.Before(from) || !e.at.Before(until) || e.at.After(now) {
			continue
		}
		if err := encoder.Encode(e.line); err != nil {
			return nil, fmt.Errorf("couldn't write a record of %s: %w", category, err)
		}
	}
	return text.Bytes(), nil
}

// Write appends the same to a directory as a storage account has it: a folder
// for each category, tenant and hour of arrival, and PT1H.json in it.
func (d *Diagnostics) Write(dir string, t *Tenant, from, until time.Time) error {
	for _, category := range []string{CategorySignIns, CategoryAudits, CategoryGraphActivity} {
		for hour := from.UTC().Truncate(time.Hour); hour.Before(until); hour = hour.Add(time.Hour) {
			lines, err := d.Lines(t, category, later(from, hour), earlierOf(until, hour.Add(time.Hour)))
			if err != nil {
				return err
			}
			if len(lines) == 0 {
				continue
			}
			folder := filepath.Join(dir, "insights-logs-"+strings.ToLower(category), "tenantId="+t.ID, hour.Format("y=2006/m=01/d=02/h=15")+"/m=00")
			if err := appendFile(filepath.Join(folder, "PT1H.json"), lines); err != nil {
				return fmt.Errorf("couldn't export %s of %s: %w", category, t.Name, err)
			}
		}
	}
	return nil
}

func earlierOf(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func appendFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return cmp.Or(err, f.Close())
}

// records returns those of a category in the order in which they came.
func (d *Diagnostics) records(t *Tenant, category string) (all []exported, err error) {
	switch category {
	case CategorySignIns:
		if !t.hasP1() {
			return nil, nil // the category needs the licence
		}
		faults := d.world.Faults()
		for _, s := range t.SignIns() {
			e := exported{s.Readable, signInEnvelope(s, faults)}
			all = append(all, e)
			if faults.SignInsTwice {
				all = append(all, e)
			}
		}
	case CategoryAudits:
		for _, a := range t.Audits() {
			all = append(all, exported{a.Readable, auditEnvelope(t, a)})
		}
	case CategoryGraphActivity:
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, c := range d.calls[t.ID] {
			all = append(all, exported{c.readable, callEnvelope(c.call)})
		}
	default:
		return nil, fmt.Errorf("couldn't export %q: expected %s, %s or %s", category, CategorySignIns, CategoryAudits, CategoryGraphActivity)
	}
	slices.SortStableFunc(all, func(x, y exported) int { return x.at.Compare(y.at) })
	return all, nil
}

func (t *Tenant) hasP1() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.noP1
}
