// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/entra"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

// lookErr is the error of a look.
func lookErr(ctx context.Context, d *entra.Entra) error {
	_, err := d.Look(ctx, driver.LookRequest{Host: host.Local(), Now: time.Now})
	return err
}

// inject answers the first n requests to a service in place of the emulator, and counts all.
func (e *estate) inject(service string, n int64, answer emulator.Injected) *atomic.Int64 {
	var asked atomic.Int64
	e.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			if a.Service == service && asked.Add(1) <= n {
				return &answer
			}
			return nil
		}
	})
	return &asked
}

// "Later" is waited for, with and without a word on how much later, at both hosts.
func TestThrottled(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		service string
		answer  emulator.Injected
	}{
		"graph, when":    {emulator.ServiceGraph, emulator.Injected{Status: 429, RetryAfter: time.Second}},
		"graph, silent":  {emulator.ServiceGraph, emulator.Injected{Status: 429}},
		"graph, 503":     {emulator.ServiceGraph, emulator.Injected{Status: 503}},
		"tokens, when":   {emulator.ServiceLogin, emulator.Injected{Status: 429, RetryAfter: time.Second}},
		"tokens, silent": {emulator.ServiceLogin, emulator.Injected{Status: 429}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t, emulator.Faults{})
			asked := e.inject(row.service, 1, row.answer)
			if err := lookErr(t.Context(), e.open(t, nil)); err != nil || asked.Load() != 2 {
				t.Errorf("%v after %d requests, want a second one that is answered", err, asked.Load())
			}
			asked = e.inject(row.service, 1000, row.answer)
			err := lookErr(t.Context(), e.open(t, map[string]string{"patience": "0s"}))
			if !errors.Is(err, tallystick.ErrUnavailable) || asked.Load() != 1 {
				t.Errorf("without patience: %v after %d requests", err, asked.Load())
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := lookErr(ctx, e.open(t, map[string]string{"patience": "1h"})); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("given up: %v", err)
			}
		})
	}
}

// Every answer that says no is told as what it is.
func TestErrors(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	for _, row := range []struct {
		answer emulator.Injected
		want   error
	}{
		{emulator.Injected{Status: 400, Code: "Request_BadRequest"}, tallystick.ErrInvalid},
		{emulator.Injected{Status: 401, Code: "InvalidAuthenticationToken"}, tallystick.ErrDenied},
		{emulator.Injected{Status: 403, Code: "Authorization_RequestDenied"}, tallystick.ErrDenied},
		{emulator.Injected{Status: 404, Code: "Request_ResourceNotFound"}, tallystick.ErrNotFound},
		{emulator.Injected{Status: 409, Code: "Request_MultipleObjectsWithSameKeyValue"}, tallystick.ErrConflict},
		{emulator.Injected{Status: 410, Code: "syncStateNotFound"}, tallystick.ErrNotFound},
		{emulator.Injected{Status: 500}, tallystick.ErrUnavailable},
		{emulator.Injected{Status: 302}, tallystick.ErrInvalid},
		{emulator.Injected{Status: 200, Body: "<html>"}, tallystick.ErrUnavailable},
		{emulator.Injected{Status: 200, Body: "{}"}, tallystick.ErrUnavailable},
		{emulator.Injected{Status: 403, Body: "\x1b[31m" + strings.Repeat("x", 1<<20)}, tallystick.ErrDenied},
	} {
		e.inject(emulator.ServiceGraph, 1000, row.answer)
		err := lookErr(t.Context(), e.open(t, nil))
		if !errors.Is(err, row.want) || len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\x1b") || strings.Contains(err.Error(), "Bearer") {
			t.Errorf("%d %s gives %v, want %v", row.answer.Status, row.answer.Code, err, row.want)
		}
		if row.answer.Code != "" && !strings.Contains(err.Error(), row.answer.Code) {
			t.Errorf("%v does not tell %s", err, row.answer.Code)
		}
	}
}

// A token that is not taken any more is asked for anew, once.
func TestTokenThatEnded(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	d := e.open(t, nil)
	look(t, d)
	asked := e.inject(emulator.ServiceGraph, 1, emulator.Injected{Status: 401, Code: "InvalidAuthenticationToken"})
	if err := lookErr(t.Context(), d); err != nil || asked.Load() != 2 || len(e.tenant.SignIns()) != 2 {
		t.Errorf("%v after %d requests and %d sign-ins", err, asked.Load(), len(e.tenant.SignIns()))
	}
}

// Who signs in is refused in one of many ways; each is told with its code.
func TestSignInIsRefused(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	nobody := "11111111-2222-4333-8444-555555555555"
	for code, options := range map[string]map[string]string{
		"AADSTS90002":  {"tenant": nobody},
		"AADSTS700016": {"application": nobody},
	} {
		if err := lookErr(t.Context(), e.open(t, options)); err == nil || !strings.Contains(err.Error(), code) {
			t.Errorf("%v gives %v, want %s", options, err, code)
		}
	}
	e.tenant.SetEnabled(e.app.Principal, false)
	d := e.open(t, nil)
	if err := lookErr(t.Context(), d); !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "AADSTS7000112") {
		t.Errorf("a disabled application gives %v", err)
	}
	e.tenant.SetEnabled(e.app.Principal, true)
	e.holds(t, material(t, e.pki, "stranger"))
	if err := lookErr(t.Context(), d); !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "AADSTS700027") {
		t.Errorf("a stranger gives %v", err)
	}
}

// A token goes to the host of the options and to nobody else: neither a redirect nor a link of
// an answer leads it away.
func TestLedElsewhere(t *testing.T) {
	t.Parallel()
	var visits atomic.Int64
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { visits.Add(1) }))
	defer elsewhere.Close()
	e := newEstate(t, emulator.Faults{})
	e.inject(emulator.ServiceGraph, 1000, emulator.Injected{Status: 200, Body: `{"value":[],"@odata.nextLink":"` + elsewhere.URL + `/v1.0/applications?$skiptoken=x"}`})
	sink := &drivertest.Recorder{}
	err := e.open(t, nil).Find(t.Context(), driver.FindRequest{Now: time.Now}, sink)
	if err != nil || len(sink.Misses) == 0 || visits.Load() > 0 {
		t.Errorf("%v, %+v, %d visits", err, sink.Misses, visits.Load())
	}
	for _, m := range sink.Misses {
		if m.Error != "invalid" || !strings.Contains(m.Detail, "another host") {
			t.Errorf("%+v", m)
		}
	}
}

// A list that never ends, and one whose end is cut off, are told and not believed.
func TestBadLists(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	for _, body := range []string{
		`{"value":[],"@odata.nextLink":"` + e.servers.Graph + `/v1.0/applications?$skiptoken=x"}`,
		`{"value":[{"id":"`, `[]`, `{"value":{}}`, `{"value":[1]`, strings.Repeat(`{"value":[`, 10000), `{"value":[],"@odata.nextLink":"://"}`, ` `,
	} {
		e.inject(emulator.ServiceGraph, 1000, emulator.Injected{Status: 200, Body: body})
		sink := &drivertest.Recorder{}
		if err := e.open(t, nil).Find(t.Context(), driver.FindRequest{Now: time.Now}, sink); err != nil || len(sink.Misses) < 3 || len(sink.Sightings) > 0 {
			t.Errorf("%.40q gives %v, %d misses, %d sightings", body, err, len(sink.Misses), len(sink.Sightings))
		}
	}
}

// A server that nobody vouches for gets no assertion.
func TestUntrustedServer(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	other := filepath.Join(t.TempDir(), "other.pem")
	text, err := os.ReadFile(e.pki.RootFile)
	if err == nil {
		err = os.WriteFile(other, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	err = lookErr(t.Context(), e.open(t, map[string]string{"ca": other}))
	if !errors.Is(err, tallystick.ErrUnavailable) || !strings.Contains(err.Error(), "option ca") || len(e.tenant.SignIns()) > 0 {
		t.Errorf("%v, %d sign-ins", err, len(e.tenant.SignIns()))
	}
}
