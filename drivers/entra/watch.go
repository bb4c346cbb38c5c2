// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
)

var _ driver.Watcher = (*Entra)(nil)

// The logs that can be watched, as the option logs names them.
const (
	logSignIns = "sign-ins"
	logAudits  = "audits"
	logMail    = "mail"
	logSearch  = "mail-search" // the same mail, by another service
	logLastUse = "last-use"
	logRisks   = "risks"
	logKeys    = "keys"
)

// logNames are all of them.
var logNames = [...]string{logSignIns, logAudits, logMail, logSearch, logLastUse, logRisks, logKeys}

// pace is how often the newest of a report is asked for: so that requests are left over the
// whole time, and not all used up at its beginning.
func (e *Entra) pace(r reportLog) time.Duration {
	least := reportTime / reportRequests
	if slices.Contains(e.Logs, logAudits) {
		least += least / auditRounds
	}
	return r.every * max(e.Every, least)
}

// Reports may be asked for five times in ten seconds, by one application in one tenant
// ("Microsoft Graph service-specific throttling limits", section Identity and access reports).
const (
	reportRequests = 5
	reportTime     = 10 * time.Second
)

const (
	// What somebody has to permit is asked for again after deniedMin, and then after twice as
	// long, up to deniedMax.
	deniedMin = 15 * time.Second
	deniedMax = 15 * time.Minute
	// What passes by itself, where nobody says when, after laterMin up to laterMax.
	laterMin = time.Second
	laterMax = 2 * time.Minute
	// maxReason is how much of what went wrong is told.
	maxReason = 200
)

// A watchPosition is how far the logs of a tenant are read, as it is stored.
type watchPosition struct {
	Tenant   standing             `json:"tenant,omitzero"` // of signing in there
	Reports  map[string]*progress `json:"reports,omitempty"`
	Contents map[string]*contents `json:"contents,omitempty"`
	Search   *search              `json:"search,omitempty"`
	Lists    map[string]*listing  `json:"lists,omitempty"`
	Keys     *keysProgress        `json:"keys,omitempty"`
	// Asked is when reports were asked for lately, in milliseconds.
	Asked []int64 `json:"asked,omitempty"`
}

// A standing is when something is asked for again, and what keeps it from being read.
type standing struct {
	Next   time.Time     `json:"next,omitzero"`
	Wait   time.Duration `json:"wait,omitempty"` // the last one, after trouble
	Reason string        `json:"reason,omitempty"`
	Denied bool          `json:"denied,omitempty"`
	Do     string        `json:"do,omitempty"`
}

// checkWatch reads the options of a watch.
func (e *Entra) checkWatch() error {
	for _, log := range e.Logs {
		if !slices.Contains(logNames[:], log) {
			return invalid("option logs: %q is none of %s", log, strings.Join(logNames[:], ", "))
		}
	}
	for i, id := range e.Only {
		var err error
		if e.Only[i], err = guid(strings.TrimSpace(id)); err != nil {
			return fmt.Errorf("option only: %w", err)
		}
	}
	switch {
	case e.Every < time.Second || e.Every > time.Hour:
		return invalid("option every: %v is not between 1s and 1h", e.Every)
	case e.Late < 0 || e.Late > 24*time.Hour:
		return invalid("option late: %v is not between 0 and 24h", e.Late)
	case e.Since < 0 || e.Since > reportsKept:
		return invalid("option since: %v is not between 0 and %v, for which reports are kept", e.Since, reportsKept)
	}
	var err error
	e.manage, err = base("manage", e.Manage)
	return err
}

// A watching is one round.
type watching struct {
	*Entra
	client *client
	sink   driver.WatchSink
	now    func() time.Time
	memory driver.WatchMemory
	at     *watchPosition
	again  time.Time // when the next round is worth it
}

// Watch reads what is new in the logs of the tenant. Sign-ins and audits are read in windows
// of time that overlap by the option late; what is later than that is found because each time
// is read again when it is an hour, six hours and a day old.
func (e *Entra) Watch(ctx context.Context, request driver.WatchRequest, sink driver.WatchSink) (time.Duration, error) {
	at := &watchPosition{}
	if request.Position != "" {
		if err := json.Unmarshal([]byte(request.Position), at); err != nil {
			return 0, fmt.Errorf("%w: couldn't read where the watch of a tenant stood: %w", tallystick.ErrDamaged, err)
		}
	}
	if e.Tenant == "" {
		return 0, invalid("option tenant: name the tenant whose logs are to be read, by its id")
	}
	c, err := e.client(ctx, host.Local(), e.Tenant, request.Now)
	if err != nil {
		return 0, err
	}
	c.used = request.Used
	c.left.Store(0) // who waits is the caller, who has other tenants to look after
	w := &watching{Entra: e, client: c, sink: sink, now: request.Now, memory: request.Memory, at: at, again: request.Now().Add(deniedMax)}
	if err := w.round(ctx); err != nil {
		return 0, err
	}
	if err := w.take(driver.WatchBatch{}); err != nil {
		return 0, err
	}
	return max(w.again.Sub(request.Now()), time.Millisecond), nil
}

// round asks for what is due.
func (w *watching) round(ctx context.Context) error {
	err := w.part(ctx, "", &w.at.Tenant, "", func() error {
		_, err := w.client.token(ctx)
		return err
	})
	if err != nil || w.at.Tenant.Reason != "" {
		return err
	}
	for _, log := range w.Logs {
		switch log {
		case logSignIns, logAudits:
			r := reportOf(log, w.Only)
			p := w.at.report(log)
			err = w.part(ctx, log, &p.standing, r.permission, func() error { return w.report(ctx, r, p) })
		case logMail:
			p := w.at.content(log)
			err = w.part(ctx, log, &p.standing, "ActivityFeed.Read of the Office 365 Management APIs", func() error { return w.content(ctx, p) })
		case logSearch:
			p := made(&w.at.Search)
			err = w.part(ctx, log, &p.standing, "AuditLogsQuery.Read.All of Microsoft Graph", func() error { return w.search(ctx, p) })
		case logKeys:
			p := made(&w.at.Keys)
			err = w.part(ctx, log, &p.standing, "Application.Read.All of Microsoft Graph", func() error { return w.keys(ctx, p) })
		default:
			l, p := lists[log], entry(&w.at.Lists, log)
			err = w.part(ctx, log, &p.standing, l.permission, func() error { return w.list(ctx, l, p) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// part does one part of a round when it is due. Its own trouble is told and remembered; the
// error is of what ends the round.
func (w *watching) part(ctx context.Context, log string, s *standing, permission string, do func() error) error {
	if w.now().Before(s.Next) {
		w.tell(log, s)
		return nil
	}
	err := do()
	ends, taken := errors.AsType[*endOfRound](err)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case taken:
		return ends.error
	case err == nil:
		s.Wait, s.Reason, s.Do, s.Denied = 0, "", "", false
		if log == "" {
			return nil // nobody waits for a token that is there
		}
	default:
		w.fail(ctx, s, permission, err)
	}
	w.tell(log, s)
	return nil
}

// An endOfRound is an error of whoever takes what is read.
type endOfRound struct{ error }

// tell says what is the matter, and when it is worth another look.
func (w *watching) tell(log string, s *standing) {
	if s.Next.Before(w.again) {
		w.again = s.Next
	}
	if s.Reason == "" {
		return
	}
	kind := tallystick.ErrUnavailable
	if s.Denied {
		kind = tallystick.ErrDenied
	}
	w.sink.Trouble(driver.WatchTrouble{Log: log, Err: told{s.Reason, kind}, Do: s.Do})
}

// A told is an error that was met in an earlier round.
type told struct {
	text string
	kind error
}

// Error returns its text.
func (t told) Error() string { return t.text }

// Unwrap returns its kind.
func (t told) Unwrap() error { return t.kind }

// fail remembers what went wrong, and when to try again.
func (w *watching) fail(ctx context.Context, s *standing, permission string, err error) {
	s.Reason, s.Do, s.Denied = err.Error(), "", false
	now := w.now()
	said, answered := errors.AsType[*apiError](err)
	if answered {
		s.Reason = fmt.Sprintf("Microsoft says %d %s", said.Status, said.Code)
		if said.Message != "" {
			s.Reason += ": " + said.Message
		}
	}
	if len(s.Reason) > maxReason { // what to do about it is to stay in sight
		s.Reason = strings.ToValidUTF8(s.Reason[:maxReason], "") + "..."
	}
	if errors.Is(err, tallystick.ErrUnavailable) {
		s.Wait = min(max(2*s.Wait, laterMin), laterMax)
		wait := s.Wait + rand.N(s.Wait/2)
		if said != nil && said.RetryAfter > 0 {
			wait = min(said.RetryAfter, deniedMax)
			s.Reason = fmt.Sprintf("Microsoft asks to come again at %s (%d %s)", now.Add(wait).UTC().Format("15:04:05"), said.Status, said.Code)
		}
		s.Next = now.Add(wait)
		return
	}
	// What is denied may be permitted any time, and the token that we have does not know it then.
	if said != nil {
		if token, err := w.client.token(ctx); err == nil {
			w.client.forget(ctx, token)
		}
	}
	s.Denied, s.Do = true, w.remedy(s.Reason, permission)
	s.Wait = min(max(2*s.Wait, deniedMin), deniedMax)
	s.Next = now.Add(s.Wait + rand.N(s.Wait/4))
}

// remedy says what a person does about it.
func (w *watching) remedy(reason, permission string) string {
	application := w.Application
	if w.As != "" {
		application = w.As
	}
	switch {
	case strings.Contains(reason, "NonPremiumTenant"), strings.Contains(reason, "premium license"):
		return "The tenant needs a licence of Microsoft Entra ID P1 or P2 for this; until then nobody can read it"
	case strings.Contains(reason, "not licensed for this feature"):
		return "The tenant needs a licence of Microsoft Entra Workload ID Premium for this; until then nobody can read it"
	case permission != "":
		return fmt.Sprintf("An administrator of the tenant grants %s to the application %s", permission, application)
	}
	consent := *w.login
	consent.Path = "/" + w.Tenant + "/adminconsent"
	consent.RawQuery = url.Values{"client_id": {application}}.Encode()
	return "If the tenant has taken back its consent, an administrator of it can give it again at " + consent.String()
}

// take hands a batch over, with the position as it is now.
func (w *watching) take(b driver.WatchBatch) error {
	_, err := w.taken(b)
	return err
}

func (w *watching) taken(b driver.WatchBatch) (fresh int, err error) {
	text, err := json.Marshal(w.at)
	if err != nil {
		return 0, &endOfRound{err}
	}
	b.Position, b.Closed = string(text), w.at.closed(w.Entra)
	if fresh, err = w.sink.Take(b); err != nil {
		return 0, &endOfRound{err}
	}
	return fresh, nil
}

// closed returns up to when everything was read that says something of uses.
func (p *watchPosition) closed(e *Entra) time.Time {
	var least time.Time
	for _, log := range e.Logs {
		var closed time.Time
		switch log {
		case logSignIns:
			closed = p.report(log).closed(e.Late)
		case logMail:
			closed = p.content(log).closed()
		case logSearch:
			closed = made(&p.Search).closed()
		default:
			continue // it tells changes, or not all uses
		}
		if closed.IsZero() {
			return closed
		}
		if least.IsZero() || closed.Before(least) {
			least = closed
		}
	}
	return least
}

func (p *watchPosition) report(log string) *progress { return entry(&p.Reports, log) }

func (p *watchPosition) content(log string) *contents { return entry(&p.Contents, log) }

// entry returns what a map has under a name, which is made where it has nothing.
func entry[T any](in *map[string]*T, name string) *T {
	if *in == nil {
		*in = map[string]*T{}
	}
	if (*in)[name] == nil {
		(*in)[name] = new(T)
	}
	return (*in)[name]
}

// made returns what stands somewhere, which is made where nothing does.
func made[T any](at **T) *T {
	if *at == nil {
		*at = new(T)
	}
	return *at
}

// ask takes one of the requests that reports may be asked for with. It says no when there is
// none left, and when there will be one.
func (p *watchPosition) ask(now time.Time) (ok bool, free time.Time) {
	since := now.Add(-reportTime).UnixMilli()
	p.Asked = slices.DeleteFunc(p.Asked, func(at int64) bool { return at <= since })
	if len(p.Asked) >= reportRequests {
		return false, time.UnixMilli(p.Asked[0]).Add(reportTime + time.Millisecond)
	}
	p.Asked = append(p.Asked, now.UnixMilli())
	return true, now
}
