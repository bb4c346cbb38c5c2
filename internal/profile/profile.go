// SPDX-License-Identifier: Apache-2.0

// Package profile keeps how credentials are used, one rule.Profile each: it learns
// from records as they come, joins two profiles when they turn out to be of one
// credential, and turns them into bytes and back.
//
// # What depends on order
//
// First, Last, the counts, the networks as long as there are no more than are
// kept, and the parties of the newest hours are the same in whatever order records
// come. These are not: Pause and Stays pass over records that come after a later
// one; an hour that is older than the newest four is not counted any more; of
// networks that are too many, those that were not seen for longest are forgotten,
// and of ways that are too many, those that came last are not kept.
// Nothing notices repetition: records that are already in the ledger are not to
// be learned from again, and neither are those that are dated ahead of the clock
// by more than lateness explains, because they would make the present look old.
package profile

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// Learn adds a use to a profile. It allocates only while the profile grows.
func Learn(p *rule.Profile, u *tallystick.Use) {
	if u.Outcome == tallystick.OutcomeAttempt || u.Time.IsZero() {
		return
	}
	until, count := u.Time, max(u.Count, 1)
	if u.Until.After(until) {
		until = u.Until
	}
	if !p.Last.IsZero() {
		p.Pause = max(p.Pause, u.Time.Sub(p.Last))
	}
	span(&p.First, &p.Last, u.Time, until)
	p.Uses = rule.Sum(p.Uses, count)
	if u.Side != tallystick.SideRelying {
		span(&p.Holder.First, &p.Holder.Last, u.Time, until)
		p.Holder.Uses = rule.Sum(p.Holder.Uses, count)
		return
	}
	span(&p.Relying.First, &p.Relying.Last, u.Time, until)
	p.Relying.Uses = rule.Sum(p.Relying.Uses, count)
	if u.Outcome == tallystick.OutcomeRefused && until.After(p.LastRefused) {
		p.LastRefused = until
	}
	if u.RelyingParty != "" {
		learnParty(p, u.Time, u.RelyingParty)
	}
	if way, ok := rule.WayOf(u); ok {
		way.First, way.Uses = u.Time, count
		learnWay(p, way)
	}
	if address, err := netip.ParseAddr(u.Address); err == nil {
		network := rule.Network{Prefix: rule.NetworkOf(address), First: u.Time, Last: until, Uses: count}
		learnStay(p, network.Prefix, u.Time, until)
		learnNetwork(p, network)
	}
}

// span widens what lies between first and last.
func span(first, last *time.Time, from, to time.Time) {
	if first.IsZero() || from.Before(*first) {
		*first = from
	}
	if last.IsZero() || to.After(*last) {
		*last = to
	}
}

func learnNetwork(p *rule.Profile, n rule.Network) {
	if known := p.Network(n.Prefix); known != nil {
		span(&known.First, &known.Last, n.First, n.Last)
		known.Uses = rule.Sum(known.Uses, n.Uses)
		return
	}
	if len(p.Networks) < rule.MaxNetworks {
		p.Networks = append(p.Networks, n)
		return
	}
	p.Forgotten = true
	oldest := &p.Networks[0]
	for i := range p.Networks {
		if p.Networks[i].Last.Before(oldest.Last) {
			oldest = &p.Networks[i]
		}
	}
	if oldest.Last.Before(n.Last) {
		*oldest = n
	}
}

// learnWay keeps a copy of what it has not met: the words are parts of a record.
func learnWay(p *rule.Profile, way rule.Way) {
	if known := p.Way(way); known != nil {
		if way.First.Before(known.First) {
			known.First = way.First
		}
		known.Uses = rule.Sum(known.Uses, way.Uses)
	} else if len(p.Ways) < rule.MaxWays {
		way.Protocol, way.Method = strings.Clone(way.Protocol), strings.Clone(way.Method)
		p.Ways = append(p.Ways, way)
	}
}

func learnStay(p *rule.Profile, network netip.Prefix, from, to time.Time) {
	if last := len(p.Stays) - 1; last >= 0 {
		stay := &p.Stays[last]
		switch {
		case from.Before(stay.To):
			return
		case stay.Prefix == network:
			stay.To = to
			return
		case len(p.Stays) == rule.MaxStays:
			copy(p.Stays, p.Stays[1:])
			p.Stays = p.Stays[:last]
		}
	}
	p.Stays = append(p.Stays, rule.Stay{Prefix: network, From: from, To: to})
}

// stale is how much older than the newest an hour is when it becomes part of the
// rhythm, whether or not there is room for it.
const stale = 12 * time.Hour

// learnParty counts a party in its hour. Hours that give way to a newer one become
// part of the rhythm.
func learnParty(p *rule.Profile, at time.Time, party string) {
	start := at.Truncate(time.Hour)
	i := len(p.Hours)
	for i > 0 && p.Hours[i-1].Start.After(start) {
		i--
	}
	if i > 0 && p.Hours[i-1].Start.Equal(start) {
		p.Hours[i-1].Parties.Add(party)
		return
	}
	over := 0
	for over < i && (len(p.Hours)-over == rule.MaxHours || start.Sub(p.Hours[over].Start) > stale) {
		p.Rhythm.Note(&p.Hours[over])
		over++
	}
	if len(p.Hours)-over == rule.MaxHours {
		return // older than all
	}
	p.Hours = append(p.Hours[:0], p.Hours[over:]...)
	p.Hours = slices.Insert(p.Hours, i-over, rule.Hour{Start: start})
	p.Hours[i-over].Parties.Add(party)
}
