// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/probing"
	"github.com/tallystick/tallystick/driver/starttls"
)

// maxOpen bounds how many connections one hold keeps open.
const maxOpen = 64

// An openConnection is one of hold. Once it was refused it stays so, and what was said
// is kept for who asks again.
type openConnection struct {
	driver.OpenConnection

	mu   sync.Mutex
	last *driver.Attempt // guarded by mu; nil while it is open
}

// try uses it once more, and closes it when it no longer can be used.
func (o *openConnection) try(ctx context.Context) driver.Attempt {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last != nil {
		return *o.last
	}
	attempt := o.Try(ctx)
	if attempt.Outcome == driver.OutcomeRefused {
		o.last = &attempt
		_ = o.Close() // nothing more is asked of it
	}
	return attempt
}

func closeAll(list []*openConnection) {
	for _, one := range list {
		_ = one.Close() // the other side may have closed it long ago
	}
}

// held is what hold keeps as a secret: sessions, and which connections were open, so that
// those that a restart has lost are named.
type held struct {
	Sessions []byte           `json:"sessions,omitempty"`
	Open     []driver.Attempt `json:"open,omitempty"`
}

// probe tries a credential, by the door's own driver where it has a way for a protocol
// that nobody else speaks.
func (s *Set) probe(ctx context.Context, j job, request driver.ProbeRequest) (driver.Probed, error) {
	request.Host, request.Now = j.host, s.Now
	own, others := request, request
	own.Listeners, others.Listeners = nil, nil
	prober, _ := j.at.verbs.(driver.Prober)
	if !driver.Offers(j.at.verbs, "probe") {
		prober = nil
	}
	for _, listener := range request.Listeners {
		if _, reached := starttls.Lookup(listener.Protocol); prober != nil && !reached && !probing.Speaks(listener.Protocol) {
			own.Listeners = append(own.Listeners, listener)
		} else {
			others.Listeners = append(others.Listeners, listener)
		}
	}
	var probed driver.Probed
	var err error
	if len(others.Listeners) > 0 {
		probed, err = probing.Probe(ctx, others)
	}
	if err == nil && len(own.Listeners) > 0 {
		var more driver.Probed
		own.Sessions, own.Hold = nil, false // sessions are of package probing
		more, err = prober.Probe(ctx, own)
		probed.Attempts = append(probed.Attempts, more.Attempts...)
	}
	s.used(j, request.Credential.Public, probed.Attempts)
	if err != nil {
		for _, open := range probed.Open {
			_ = open.Close() // err is what matters
		}
		return driver.Probed{}, err
	}
	return probed, nil
}

// used tells of tries that were answered.
func (s *Set) used(j job, credential driver.Public, attempts []driver.Attempt) {
	if s.Used == nil {
		return
	}
	for _, a := range attempts {
		outcome := map[string]tallystick.Outcome{driver.OutcomeAccepted: tallystick.OutcomeSuccess, driver.OutcomeRefused: tallystick.OutcomeRefused}[a.Outcome]
		if outcome == "" {
			continue
		}
		s.Used(j.Old, tallystick.Use{
			Time: a.At, Level: levelOf(a), Credential: credential.Names(), Holder: j.at.Holder, RelyingParty: j.RelyingParty, Outcome: outcome,
			Operation: "probe", Detail: "Tallystick, " + j.Name + ": " + a.Way, IDs: idsOf(a.IDs),
		})
	}
}

// levelOf says what a try was one of: who signs an assertion asks for a token.
func levelOf(a driver.Attempt) tallystick.Level {
	if a.Listener.Protocol == "oauth" {
		return tallystick.LevelToken
	}
	return tallystick.LevelRequest
}

// idsOf reads the identifiers of an attempt.
func idsOf(ids map[string]string) tallystick.UseIDs {
	return tallystick.UseIDs{UTI: ids["uti"], Request: ids["request"], Correlation: ids["correlation"]}
}

// usedBy takes down the sign-ins that a driver makes at a door for its own work. One that it has no
// name for is a use of old.
func (s *Set) usedBy(d *door, old driver.Public) func(tallystick.Use) {
	if s.Used == nil {
		return nil
	}
	return func(use tallystick.Use) {
		use.Holder = d.Holder
		if len(use.Credential) == 0 {
			use.Credential = old.Names()
		}
		s.Used(old, use)
	}
}

// listeners are where the task tries: there must be some, because nothing follows from
// a try that was not made.
func (j job) listeners() ([]driver.Listener, error) {
	if len(j.Listeners) == 0 {
		return nil, fmt.Errorf("%w: the door that lets it in has no address to try it at", tallystick.ErrInvalid)
	}
	return j.Listeners, nil
}

// probeNew tries the new credential where it must be accepted.
func (s *Set) probeNew(ctx context.Context, j job) (Result, error) {
	attempts, err := s.tryNew(ctx, j)
	return Result{Attempts: attempts}, err
}

func (s *Set) tryNew(ctx context.Context, j job) ([]driver.Attempt, error) {
	listeners, err := j.listeners()
	if err != nil {
		return nil, err
	}
	next, err := s.material(ctx, j.New, j.KeyName)
	if err != nil {
		return nil, err
	}
	probed, err := s.probe(ctx, j, driver.ProbeRequest{Credential: next, Listeners: listeners})
	return probed.Attempts, err
}

// hold signs in with the old credential, and keeps sessions and open connections to try
// them again after it is blocked.
func (s *Set) hold(ctx context.Context, j job) (Result, error) {
	listeners, err := j.listeners()
	if err != nil {
		return Result{}, err
	}
	old, err := s.material(ctx, j.Old, j.OldKeyName)
	if err != nil {
		return Result{}, err
	}
	probed, err := s.probe(ctx, j, driver.ProbeRequest{Credential: old, Listeners: listeners, Hold: true})
	if err != nil {
		return Result{}, err
	}
	open := make([]*openConnection, 0, len(probed.Open))
	for i, one := range probed.Open {
		if i >= maxOpen {
			_ = one.Close() // the others prove as much
			continue
		}
		open = append(open, &openConnection{OpenConnection: one})
	}
	tries := tryAll(ctx, open)
	if err := s.keepHeld(ctx, j, held{Sessions: probed.Sessions, Open: tries}); err != nil {
		closeAll(open)
		return Result{}, err
	}
	s.mu.Lock()
	before := s.open[j.SessionName]
	s.open[j.SessionName] = open
	s.mu.Unlock()
	closeAll(before)
	return Result{Attempts: append(probed.Attempts, tries...)}, nil
}

func tryAll(ctx context.Context, open []*openConnection) []driver.Attempt {
	var attempts []driver.Attempt
	for _, one := range open {
		attempts = append(attempts, one.try(ctx))
	}
	return attempts
}

func (s *Set) keepHeld(ctx context.Context, j job, h held) error {
	text, err := encode(h)
	if err != nil {
		return err
	}
	defer clear(text)
	if err := s.Keys.Keep(ctx, j.SessionName, text); err != nil {
		return fmt.Errorf("couldn't keep the sessions of the old credential: %w", err)
	}
	return nil
}

// heldOf returns what hold kept; nothing where there was no hold, as in a place, or where
// the deadline left no time for one.
func (s *Set) heldOf(ctx context.Context, j job) (held, error) {
	var h held
	if j.SessionName == "" {
		return h, nil
	}
	text, err := s.Keys.Get(ctx, j.SessionName)
	if errors.Is(err, tallystick.ErrNotFound) {
		return h, nil
	}
	if err != nil {
		return h, err
	}
	defer clear(text)
	if err := json.Unmarshal(text, &h); err != nil {
		return h, fmt.Errorf("%w: the sessions of the old credential cannot be read", tallystick.ErrDamaged)
	}
	return h, nil
}

// prove tries the old credential in every way, and the new one. A task without the name
// of an old key is of a place: there it looks that nothing shows the old one.
func (s *Set) prove(ctx context.Context, j job) (Result, error) {
	if j.OldKeyName == "" {
		return s.provePlace(ctx, j)
	}
	listeners, err := j.listeners()
	if err != nil {
		return Result{}, err
	}
	old, err := s.material(ctx, j.Old, j.OldKeyName)
	if err != nil {
		return Result{}, err
	}
	h, err := s.heldOf(ctx, j)
	if err != nil {
		return Result{}, err
	}
	probed, err := s.probe(ctx, j, driver.ProbeRequest{Credential: old, Listeners: listeners, Sessions: h.Sessions})
	if err != nil {
		return Result{}, err
	}
	result := Result{Attempts: append(probed.Attempts, s.tryOpen(ctx, j.SessionName, h)...)}
	if len(j.New.Names()) > 0 {
		result.NewAttempts, err = s.tryNew(ctx, j)
	}
	return result, err
}

// tryOpen uses the connections of hold once more.
func (s *Set) tryOpen(ctx context.Context, name string, h held) []driver.Attempt {
	s.mu.Lock()
	open := slices.Clone(s.open[name])
	s.mu.Unlock()
	attempts := tryAll(ctx, open)
	for i := len(open); i < len(h.Open); i++ {
		lost := h.Open[i]
		lost.Outcome, lost.At, lost.Served = driver.OutcomeFailed, s.Now(), ""
		lost.Answer = "the connection ended when this program was started again"
		attempts = append(attempts, lost)
	}
	return attempts
}

// provePlace looks at every listener, and at the door: in Attempts, Served says what each
// showed, and View.Shown has the old one where it is still somewhere.
func (s *Set) provePlace(ctx context.Context, j job) (Result, error) {
	view, err := s.look(ctx, j.at)
	if err != nil {
		return Result{}, err
	}
	listeners := j.Listeners
	if len(listeners) == 0 {
		listeners = view.Listeners
	}
	narrowed := narrow(view, j.Old, j.New)
	narrowed.Authorities = signers(view.Authorities, j.Old)
	return Result{View: narrowed, Attempts: probing.Show(ctx, j.host, listeners, s.Now)}, nil
}

// signers returns the CAs among those that a door trusts by which it lets a certificate in: one
// above it in its chain, or that signed one of these.
func signers(authorities [][]byte, p driver.Public) [][]byte {
	var list [][]byte
	for _, der := range authorities {
		ca, err := x509.ParseCertificate(der)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(p.Chain, func(one []byte) bool {
			c, err := x509.ParseCertificate(one)
			return err == nil && (c.Equal(ca) || c.CheckSignatureFrom(ca) == nil)
		}) {
			list = append(list, der)
		}
	}
	return list
}
