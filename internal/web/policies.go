// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/issuing"
	"github.com/tallystick/tallystick/internal/policy"
)

// policiesPage answers: who may have which certificate, and why not?
type policiesPage struct {
	frame
	Offers   []offer
	Values   url.Values // of the request that is tried
	Profiles []profileRow
	Rules    []policy.Rule
	Keys     []string
	Ways     []string
	Roles    []gate.Role
	CAs      []string
	Answer   *answer
}

// Value returns what a parameter was given as.
func (p *policiesPage) Value(name string) string { return p.Values.Get(name) }

// A profileRow is a profile as the page shows it.
type profileRow struct {
	ca.Profile
	Life, Most string
}

// An answer is what would become of the request that is tried.
type answer struct {
	Word     string // "allowed", "needs approval" or "refused"
	Why      string
	Verdicts []policy.Verdict
	Silent   int64 // rules that are about other requests
}

// most names and text of a request that is tried.
const (
	triedNames = 100
	triedText  = 8000
)

// Policies is the profiles and the rules, with a box to try requests in.
func (s *Site) Policies(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	ctx, actor, q := r.Context(), actorOf(r), r.URL.Query()
	p := &policiesPage{
		frame: frame{Title: "Policies", Section: "issuers"}, Offers: issuerOffers("/policies"), Values: q, Keys: custody.KeyWords(), Ways: ways(),
		Roles: []gate.Role{gate.Client, gate.Viewer, gate.Operator, gate.Admin},
	}
	profiles, err := s.Issuing.Profiles(ctx, actor)
	if err == nil {
		p.Rules, err = s.Issuing.Rules(ctx, actor)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	for _, one := range profiles {
		p.Profiles = append(p.Profiles, profileRow{one, span(one.Lifetime), span(one.MaxLifetime)})
	}
	all, err := s.Issuing.CA.Overview(ctx, actor)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	for _, a := range all {
		if a.Signs() {
			p.CAs = append(p.CAs, a.Name)
		}
	}
	if q.Get("names") != "" || q.Get("profile") != "" {
		if p.Answer, err = s.try(r, q, profiles); err != nil {
			s.Error(w, r, err)
			return
		}
	}
	s.render(w, r, http.StatusOK, "policies", p)
}

// try asks what would become of the request of the form.
func (s *Site) try(r *http.Request, q url.Values, profiles []ca.Profile) (*answer, error) {
	name := q.Get("profile")
	if name == "" {
		name = ca.DefaultProfile
	}
	i := slices.IndexFunc(profiles, func(p ca.Profile) bool { return p.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w: there is no profile %q", tallystick.ErrInvalid, clip(40, name))
	}
	words := tagsOf(q.Get("names"))
	if len(words) > triedNames || len(q.Get("names")) > triedText {
		return nil, fmt.Errorf("%w: at most %d names can be tried at once", tallystick.ErrInvalid, triedNames)
	}
	names := issuing.ParseNames(profiles[i], words)
	lifetime, err := lifetimeOf(q.Get("lifetime"))
	if err != nil {
		return nil, err
	}
	trial := issuing.Trial{Key: q.Get("key"), Request: ca.Request{
		Authority: q.Get("authority"), Profile: name, Names: &names, Lifetime: lifetime, Via: q.Get("via"), Proven: q.Get("proven") == "true",
	}}
	if trial.Request.Via == "" {
		trial.Request.Via = ca.ViaAPI
	}
	role := actorOf(r).Role
	if word := q.Get("role"); word != "" {
		if role, err = gate.ParseRole(word); err != nil {
			return nil, err
		}
	}
	who := strings.TrimSpace(q.Get("as"))
	if who == "" {
		who = actorOf(r).Name
	}
	trial.As = gate.Actor{Name: who, Role: role, Via: trial.Request.Via}
	d, err := s.Issuing.Try(r.Context(), actorOf(r), trial)
	if err != nil {
		return nil, err
	}
	return answerOf(d), nil
}

// answerOf puts what speaks against a request first, and leaves out what is silent.
func answerOf(d ca.Decision) *answer {
	a := &answer{Word: "refused", Why: d.Why}
	switch {
	case d.Allowed && d.Approval:
		a.Word = "needs approval"
	case d.Allowed:
		a.Word = "allowed"
	}
	for _, of := range [][]policy.Outcome{{policy.Refused}, {policy.Approval}, {policy.Allowed}, {policy.NotYet}} {
		for _, v := range d.Verdicts {
			if slices.Contains(of, v.Outcome) {
				a.Verdicts = append(a.Verdicts, v)
			}
		}
	}
	a.Silent = int64(len(d.Verdicts) - len(a.Verdicts))
	return a
}

// lifetimeOf reads how long a certificate is to live: 47d, 12h; "" is 0.
func lifetimeOf(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := numberOf(days)
		if err != nil || n > 36_500 {
			return 0, fmt.Errorf("%w: %q is not how long something is", tallystick.ErrInvalid, clip(40, text))
		}
		return time.Duration(n) * day, nil
	}
	return durationOf(text)
}
