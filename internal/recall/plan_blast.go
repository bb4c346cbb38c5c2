// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/store"
)

// A seen is a door with how it stands.
type seen struct {
	doors.Door
	view driver.View
	err  error // why nobody could look
	// looked is when an agent did; zero of doors of this process.
	looked time.Time
	// told are addresses that only the agent says are of this door.
	told []string
}

// A group is one burnt credential, the door that holds it, and the doors that let it
// in. They share one new credential.
type group struct {
	old     driver.Public
	subject string
	holder  *seen // nil: no door holds it
	place   bool  // the holder shows it to others
	relying []*seen
	listed  bool             // the list of its CA is to be had here
	secret  *doors.Entrusted // an entrusted secret in place of a credential with a public half; nil of any other
	nobodys bool             // it has no holder, who would be given the new value
}

// looksAtOnce bounds how many doors a plan looks at together.
const looksAtOnce = 32

// agentsLook is how long agents may take to look at their doors for a plan.
const agentsLook = 20 * time.Second

// lookAtAll looks at every door. Those of an agent that does not answer were not seen,
// whatever it said before.
func (e *Engine) lookAtAll(ctx context.Context) ([]*seen, error) {
	var silent []string
	if e.Agents != nil {
		looking, cancel := context.WithTimeout(ctx, agentsLook)
		defer cancel()
		var err error
		if silent, err = e.Agents.Look(looking); err != nil {
			return nil, fmt.Errorf("couldn't have agents look at their doors: %w", err)
		}
	}
	list, err := e.allDoors(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if s.Agent != "" && s.err == nil && slices.Contains(silent, s.Agent) {
			s.err = fmt.Errorf("%w: the agent %s does not answer; it last looked at %s", tallystick.ErrUnavailable, s.Agent, s.looked.UTC().Format(time.DateTime))
			s.view = driver.View{}
		}
	}
	var wg sync.WaitGroup
	room := make(chan struct{}, looksAtOnce)
	for _, s := range list {
		if s.Agent != "" || !can(s, "look") {
			continue
		}
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			s.view, s.err = e.Doors.Look(ctx, s.Name)
		})
	}
	wg.Wait()
	markTold(list)
	return list, ctx.Err()
}

// blast finds out which doors hold, show or let in what is burnt. Its cost grows with
// the doors and with the groups that come of it, not with their product.
func blast(b *burnt, all []*seen) []*group {
	var groups []*group
	held := map[string]bool{} // by bestName
	for _, s := range all {
		var here []*group
		for _, shown := range s.view.Shown {
			if !b.has(shown.Public) || !shown.Live && !shown.Key {
				continue
			}
			i := slices.IndexFunc(here, func(g *group) bool { return g.old.Is(shown.Public) })
			if i < 0 {
				here, i = append(here, &group{old: shown.Public, holder: s, subject: subjectOf(shown.Public)}), len(here)
			}
			here[i].place = here[i].place || shown.Live
			held[bestName(shown.Public)] = true
		}
		groups = append(groups, here...)
	}
	for _, k := range b.known { // what no door holds may be let in all the same
		if name := bestName(k.Public); name != "" && !held[name] {
			groups = append(groups, &group{old: k.Public, subject: subjectOf(k.Public)})
		}
	}
	letting := lettingIn(all)
	for _, g := range groups {
		g.relying = letting.of(g.old, g.holder)
	}
	meant(groups)
	return slices.DeleteFunc(groups, func(g *group) bool { return g.holder == nil && len(g.relying) == 0 })
}

// meant leaves out doors that are for other holders of the same credential. A door none of
// whose holders has it stays with all: it lets the credential in all the same.
func meant(groups []*group) {
	having := map[string]map[string]bool{} // holders, by bestName of what they have
	for _, g := range groups {
		if name := bestName(g.old); g.holder != nil {
			if having[name] == nil {
				having[name] = map[string]bool{}
			}
			having[name][g.holder.Holder] = true
		}
	}
	for _, g := range groups {
		has := having[bestName(g.old)]
		g.relying = slices.DeleteFunc(g.relying, func(s *seen) bool {
			return g.holder != nil && !slices.Contains(s.Holders, g.holder.Holder) && slices.ContainsFunc(s.Holders, func(h string) bool { return has[h] })
		})
	}
}

// A lettings says which doors let a credential in.
type lettings struct {
	byName      map[string][]*seen
	authorities []*authority
}

// An authority is a CA whose client certificates get in at some doors.
type authority struct {
	*x509.Certificate
	doors []*seen
}

func lettingIn(all []*seen) *lettings {
	l := &lettings{byName: map[string][]*seen{}}
	known := map[string]*authority{}
	for _, s := range all {
		for _, one := range s.view.Accepts {
			name := tallystick.NormalName(one.Name)
			l.byName[name] = append(l.byName[name], s)
		}
		for _, der := range s.view.Authorities {
			a := known[string(der)]
			if a == nil {
				c, err := x509.ParseCertificate(der)
				if err != nil {
					continue
				}
				a = &authority{Certificate: c}
				known[string(der)], l.authorities = a, append(l.authorities, a)
			}
			a.doors = append(a.doors, s)
		}
	}
	return l
}

// of returns the doors that let a credential in, but for one. A door that denies it
// already is among them: that is still to be proven.
func (l *lettings) of(p driver.Public, but *seen) []*seen {
	var list []*seen
	for _, name := range p.Names() {
		list = append(list, l.byName[name]...)
	}
	if chain := parseChain(p.Chain); len(chain) > 0 && forClients(chain[0]) {
		for _, a := range l.authorities {
			if slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return c.Equal(a.Certificate) || signed(a.Certificate, c) }) {
				list = append(list, a.doors...)
			}
		}
	}
	slices.SortFunc(list, func(a, b *seen) int { return strings.Compare(a.Name, b.Name) })
	list = slices.Compact(list)
	return slices.DeleteFunc(list, func(s *seen) bool { return s == but })
}

func parseChain(ders [][]byte) []*x509.Certificate {
	var chain []*x509.Certificate
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return chain
		}
		chain = append(chain, c)
	}
	return chain
}

// forClients says whether servers take a certificate from a client (RFC 5280 section
// 4.2.1.12: one without the extension is for anything).
func forClients(c *x509.Certificate) bool {
	none := len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0
	return none || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// subjectOf returns what people call a credential.
func subjectOf(p driver.Public) string {
	if chain := parseChain(p.Chain); len(chain) > 0 {
		if chain[0].Subject.String() != "" {
			return chain[0].Subject.String()
		}
		return strings.Join(chain[0].DNSNames, ", ")
	}
	if p.Account != "" {
		return p.Account
	}
	return bestName(p)
}

// bestName returns the name of a credential that says most.
func bestName(p driver.Public) string {
	names := p.Names()
	for _, kind := range []string{"cert-sha256:", "ssh:", "account:"} {
		if i := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, kind) }); i >= 0 {
			return names[i]
		}
	}
	return strings.Join(names[:min(1, len(names))], "")
}

// A manual is something that no driver can do.
type manual struct {
	store.PlannedTarget
	holdsUp bool // the old one must not be blocked before, except by the deadline
	// distrusts is a door that lets in whatever a burnt CA signs; nil of anything else.
	distrusts *seen
}

// mostManual bounds how many tasks for people a plan has; the rest is counted.
const mostManual = 10_000

// manuals finds the copies and connections that no door covers.
func (e *Engine) manuals(ctx context.Context, b *burnt, all []*seen, groups []*group) ([]manual, error) {
	var list []manual
	covered, letting := placesOf(all), partiesLetting(groups)
	done := map[string]bool{}
	for _, k := range b.known {
		if k.Key == "" || done[string(k.Key)] {
			continue
		}
		done[string(k.Key)] = true
		rows, err := e.DB.SightingsOfKey(ctx, k.Key, tallystick.RoleHolds, mostManual)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if row.GoneSince.IsZero() && !covered[string(row.Place)] {
				list = append(list, manual{PlannedTarget: person(k, fmt.Sprintf(
					"A copy of the private key is at %s. Put another credential there, or remove it if nothing uses it, and say that it is done.", row.Place))})
			}
		}
	}
	for _, k := range b.known {
		rows, err := e.connectionsOf(ctx, k)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if letting[bestName(k.Public)][row.Party] || row.Party == "" {
				continue
			}
			t := person(k, fmt.Sprintf("%s lets this credential in (last use %s), and no driver reaches it. Have its people trust the new one beside the old, "+
				"and after the switch remove the old one; then say that it is done.", row.Party, row.Last.UTC().Format("2006-01-02 15:04")))
			t.RelyingParty = row.Party
			list = append(list, manual{PlannedTarget: t, holdsUp: true})
		}
		if len(list) > mostManual {
			return nil, fmt.Errorf("%w: more than %d things must be done by hand; recall it in parts", tallystick.ErrInvalid, mostManual)
		}
	}
	list = append(list, distrusting(b, all)...)
	for _, g := range groups {
		if g.holder == nil {
			list = append(list, manual{PlannedTarget: person(known{Public: g.old, Subject: g.subject},
				"No door holds this credential, so nobody here can give its holder another one. Find out who uses it, have a new one made and put to use; then say that it is done."), holdsUp: true})
		}
	}
	return list, nil
}

// distrusting asks somebody for each door that trusts a CA which is burnt: whoever has its key
// makes new credentials that get in there.
func distrusting(b *burnt, all []*seen) []manual {
	var list []manual
	for _, ca := range b.issuers {
		k := known{Public: driver.Public{Chain: [][]byte{ca.Raw}}, Subject: ca.Subject.String()}
		for _, s := range all {
			for _, a := range parseChain(s.view.Authorities) {
				what := ""
				switch {
				case a.Equal(ca):
					what = "Take it out of what the door trusts"
				case signed(a, ca):
					what = fmt.Sprintf("Give the door a list of %s that names it", a.Subject)
				default:
					continue
				}
				t := person(k, fmt.Sprintf("The door %s lets in whatever %s signs, whose key is burnt. %s, and say that it is done.", s.Name, ca.Subject, what))
				t.Relying, t.Owner, t.Customer = s.Name, s.Owner, s.Customer
				list = append(list, manual{PlannedTarget: t, distrusts: s})
			}
		}
	}
	return list
}

func person(k known, instructions string) store.PlannedTarget {
	return store.PlannedTarget{RecallTarget: tallystick.RecallTarget{
		Kind: tallystick.TargetPerson, Old: bestName(k.Public), Subject: k.Subject, Instructions: instructions,
	}}
}

// placesOf returns the files of doors of this machine.
func placesOf(all []*seen) map[string]bool {
	places := map[string]bool{}
	for _, s := range all {
		for _, shown := range s.view.Shown {
			if strings.HasPrefix(shown.At, "/") && s.Host == "" && s.Agent == "" {
				places[string(tallystick.FilePlace(shown.At))] = true
			}
		}
	}
	return places
}

// partiesLetting returns, by bestName, what uses call the doors that were seen to let a
// credential in. A door that could not be looked at, or does not let it in, stands for no
// relying party: a use there is somebody's task.
func partiesLetting(groups []*group) map[string]map[string]bool {
	letting := map[string]map[string]bool{}
	for _, g := range groups {
		name := bestName(g.old)
		if letting[name] == nil {
			letting[name] = map[string]bool{}
		}
		for _, s := range g.relying {
			for _, party := range partiesAt(s) {
				letting[name][party] = true
			}
		}
	}
	return letting
}

// partyOf returns what uses call a listener where nobody said otherwise.
func partyOf(l driver.Listener) string { return l.Protocol + ":" + l.Address }

// connectionsOf returns where a credential was used.
func (e *Engine) connectionsOf(ctx context.Context, k known) ([]store.ConnectionRow, error) {
	var used []int64
	if k.Fingerprint != "" {
		rows, err := e.DB.UsedOf(ctx, k.Fingerprint)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			used = append(used, row.ID)
		}
	}
	if len(used) == 0 {
		return nil, nil
	}
	var all []store.ConnectionRow
	page := store.PageRequest{Limit: 500}
	for {
		list, err := e.DB.Connections(ctx, store.ConnectionFilter{Used: used}, page)
		if err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
		if page.After = list.Next; page.After == "" || len(all) > mostManual {
			return all, nil
		}
	}
}
