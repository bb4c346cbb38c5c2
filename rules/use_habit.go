// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func useHabitRules() []rule.Rule {
	return []rule.Rule{dormantAwakes(), impossibleConcurrency(), partySweep(), useNewNetwork(), useNewWay(), useOutsideNetworks()}
}

// How long, and from how many uses, a habit is learned before it is spoken of.
const (
	learnTime = 7 * 24 * time.Hour
	learnUses = 50
)

// Unusual use is what this control asks to be watched for.
const (
	atypical    = "NIST SP 800-53 Revision 5 AC-2(12), atypical usage"
	atypicalURL = "https://csrc.nist.gov/pubs/sp/800/53/r5/upd1/final"
)

// learned says whether enough is known of a habit to speak of what is not part of it.
func learned(first time.Time, uses int64, at time.Time) bool {
	return uses >= learnUses && at.Sub(first) >= learnTime
}

// origin returns from where a relying party saw the key at work.
func origin(s *rule.UseSubject) (netip.Addr, bool) {
	if s.Use.Side != tallystick.SideRelying || s.Use.Outcome == tallystick.OutcomeAttempt {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddr(s.Use.Address)
	return address.Unmap().WithZone(""), err == nil
}

// networkName names the network of an address.
func networkName(s *rule.UseSubject, a netip.Addr) string {
	if s.Network != nil {
		if name := s.Network(a); name != "" {
			return name
		}
	}
	return rule.NetworkOf(a).String()
}

// declared says whether an address is in one of the networks that its holder uses.
func declared(s *rule.UseSubject, a netip.Addr) bool {
	return slices.ContainsFunc(s.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

func useOutsideNetworks() rule.Rule {
	return rule.Rule{
		Name:      "use-outside-networks",
		Title:     "Used from outside its networks",
		About:     "It was used from an address that is in none of the networks from which its holder uses it (tags such as network=203.0.113.0/24).",
		Severity:  tallystick.SeverityHigh,
		Citation:  "NIST SP 800-53 Revision 5 AC-2(11), usage conditions",
		URL:       atypicalURL,
		Effective: day(2020, time.December, 10),
		Do: "Ask the owner whether the holder has moved: if so, add a tag network= for where it is now; if not, take the key for stolen. Where the " +
			"relying party can, have it accept the credential from these networks only.",
		Use: onArrival(func(s *rule.UseSubject) []rule.Hit {
			from, ok := origin(s)
			if !ok || len(s.Networks) == 0 || declared(s, from) {
				return nil
			}
			return one(0, "used from %s, which is in none of its networks", networkName(s, from))
		}),
	}
}

func useNewNetwork() rule.Rule {
	return rule.Rule{
		Name:  "use-new-network",
		Title: "Used from a network for the first time",
		About: "After a week and 50 uses or more it was used from a network in which it was never seen. A network is that of one operator where a " +
			"table of networks is given (asn_table), else 24 bits of an IPv4 address and 48 of an IPv6 address.",
		Severity:  tallystick.SeverityMedium,
		Citation:  atypical,
		URL:       atypicalURL,
		Effective: day(2020, time.December, 10),
		Do: "Ask the owner whether the holder has moved or grown. If it has, this is not told again for that network; tags such as " +
			"network=203.0.113.0/24 say it ahead.",
		Use: onArrival(judgeNewNetwork),
	}
}

func judgeNewNetwork(s *rule.UseSubject) []rule.Hit {
	from, ok := origin(s)
	if !ok || s.Profile == nil || s.Profile.Forgotten || declared(s, from) || s.Profile.Network(rule.NetworkOf(from)) != nil || !located(s) {
		return nil
	}
	name := networkName(s, from)
	for _, known := range s.Profile.Networks {
		if networkName(s, known.Prefix.Addr()) == name {
			return nil
		}
	}
	return one(0, "first used from %s on %s", name, s.Use.Time.UTC().Format(time.DateOnly))
}

// located says whether enough is known of the networks of a credential.
func located(s *rule.UseSubject) bool {
	first, uses := s.Profile.Located()
	return learned(first, uses, s.Use.Time)
}

func useNewWay() rule.Rule {
	return rule.Rule{
		Name:  "use-new-way",
		Title: "Signed in in a new way",
		About: "After a week and 50 sign-ins or more it signed in by a protocol, or by a method of it, by which it never did before: by POP3 where it was " +
			"SMTP, by a simple bind where it was Kerberos, by a certificate where it was a password. What was refused is no sign-in, and teaches nothing. A " +
			"program does not change its ways by itself; whoever has taken what it signs in with has other programs.",
		Severity:  tallystick.SeverityMedium,
		Citation:  atypical,
		URL:       atypicalURL,
		Effective: day(2020, time.December, 10),
		Do: "Ask the owner what was changed in the holder. If it was, this is not told again for that way; if nothing was, take the credential for stolen, " +
			"and see what else can be opened with it in that way. Where the relying party can, turn off the ways that nobody needs.",
		Use: onArrival(judgeNewWay),
	}
}

func judgeNewWay(s *rule.UseSubject) []rule.Hit {
	way, ok := rule.WayOf(s.Use)
	if !ok || s.Profile == nil || len(s.Profile.Ways) == rule.MaxWays || slices.ContainsFunc(s.Profile.Ways, way.Like) {
		return nil
	}
	first, uses, mostly := s.Profile.SignedIn()
	if !learned(first, uses, s.Use.Time) {
		return nil
	}
	return one(0, "first signed in by %s on %s, and mostly by %s before", wayName(way), s.Use.Time.UTC().Format(time.DateOnly), wayName(mostly))
}

// wayName writes a way for people.
func wayName(w rule.Way) string {
	if w.Method == "" {
		return w.Protocol
	}
	return w.Protocol + " (" + w.Method + ")"
}

// When a credential counts as dormant.
const (
	dormantFor  = 60 * 24 * time.Hour
	dormantUses = 20
)

func dormantAwakes() rule.Rule {
	return rule.Rule{
		Name:  "dormant-awakes",
		Title: "Used again after a long time",
		About: "It was in use, then nobody used it for 60 days or more, and more than twice as long as it ever paused before; now it was used. " +
			"Credentials that were forgotten are the ones that nobody misses.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "NIST SP 800-53 Revision 5 AC-2(3), disabling of inactive accounts",
		URL:       atypicalURL,
		Effective: day(2020, time.December, 10),
		Do:        "Ask the owner who needed it again. If nobody did, take it for stolen; in either case replace or remove it if it is rarely needed.",
		Use: onArrival(func(s *rule.UseSubject) []rule.Hit {
			p := s.Profile
			if p == nil || p.Uses < dormantUses || s.Use.Outcome == tallystick.OutcomeAttempt {
				return nil
			}
			if pause := s.Use.Time.Sub(p.Last); pause < dormantFor || pause/2 <= p.Pause {
				return nil
			}
			return one(0, "used on %s, and before that last on %s", s.Use.Time.UTC().Format(time.DateOnly), p.Last.UTC().Format(time.DateOnly))
		}),
	}
}

// A sweep is sweepTimes as many relying parties as usual, and sweepMore.
const (
	sweepLearn = 14 * 24 * time.Hour
	sweepTimes = 3
	sweepMore  = 10
)

func partySweep() rule.Rule {
	return rule.Rule{
		Name:  "relying-party-sweep",
		Title: "One credential walks over many relying parties",
		About: "Within an hour it was used at far more relying parties than is usual at that time of day: at more than three times as many, and ten " +
			"more. Whoever has taken the key of a vendor tries it at its customers. It is learned for two weeks.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "MITRE ATT&CK T1199, trusted relationship",
		URL:       "https://attack.mitre.org/techniques/T1199/",
		Effective: day(2018, time.April, 18),
		Do:        "Ask the owner whether a batch was run out of its time. If not, take the key for stolen, and begin with the relying parties of that hour.",
		Use: onArrival(func(s *rule.UseSubject) []rule.Hit {
			p := s.Profile
			if p == nil || s.Use.Side != tallystick.SideRelying || s.Use.Outcome == tallystick.OutcomeAttempt ||
				p.Relying.Uses < learnUses || s.Use.Time.Sub(p.Relying.First) < sweepLearn {
				return nil
			}
			if p.PartiesAt(s.Use.Time) <= sweepTimes*p.Rhythm.Most(s.Use.Time)+sweepMore {
				return nil
			}
			return one(0, "used at far more relying parties within an hour of %s than is usual at that time of day", s.Use.Time.UTC().Format(time.DateOnly))
		}),
	}
}

// What counts as one network being a habit, and another as used at the same time.
const (
	habitPercent     = 90
	concurrentWithin = 10 * time.Minute
	concurrentStays  = 4
	newcomer         = 24 * time.Hour
)

func impossibleConcurrency() rule.Rule {
	return rule.Rule{
		Name:  "impossible-concurrency",
		Title: "Used from two far networks at the same time",
		About: "Nine in ten of its uses came from one network; within ten minutes uses from there and from a far network that is new to it follow each " +
			"other in turn. One holder does not do that: there are two.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "MITRE ATT&CK T1078.004, valid cloud accounts",
		URL:       "https://attack.mitre.org/techniques/T1078/004/",
		Effective: day(2020, time.March, 13),
		Do:        "Ask the owner whether a second copy of the holder was started. If not, take the key for stolen: replace it and have the old one blocked.",
		Use:       onArrival(judgeConcurrency),
	}
}

func judgeConcurrency(s *rule.UseSubject) []rule.Hit {
	from, ok := origin(s)
	if !ok || s.Profile == nil || len(s.Profile.Stays) < 2 || !located(s) {
		return nil
	}
	here := rule.NetworkOf(from)
	habit, other, ok := takeTurns(s.Profile.Stays, here, s.Use.Time)
	if !ok {
		return nil
	}
	if !isHabit(s.Profile, habit) {
		habit, other = other, habit
	}
	known := s.Profile.Network(other)
	if !isHabit(s.Profile, habit) || known != nil && s.Use.Time.Sub(known.First) > newcomer || !areFar(s, habit, other) || declared(s, other.Addr()) {
		return nil
	}
	return one(0, "used from %s in turn with %s, its habit, on %s", networkName(s, other.Addr()), networkName(s, habit.Addr()), s.Use.Time.UTC().Format(time.DateOnly))
}

// takeTurns says whether the last stays, of which a use from here is the newest,
// are in two networks in turn within a short time, and which these are.
func takeTurns(stays []rule.Stay, here netip.Prefix, now time.Time) (a, b netip.Prefix, ok bool) {
	end := len(stays)
	if stays[end-1].Prefix == here {
		end--
	}
	if end < concurrentStays-1 {
		return a, b, false
	}
	there := stays[end-1].Prefix
	turns := stays[end-(concurrentStays-1) : end] // there, here, there; then comes this use
	for i, stay := range turns {
		if want := [...]netip.Prefix{there, here}[i%2]; stay.Prefix != want {
			return a, b, false
		}
	}
	return here, there, now.Sub(turns[0].To) <= concurrentWithin && !now.Before(turns[len(turns)-1].To)
}

// isHabit says whether nearly all uses come from a network.
func isHabit(p *rule.Profile, network netip.Prefix) bool {
	n := p.Network(network)
	_, uses := p.Located()
	return n != nil && n.Uses >= uses/100*habitPercent
}

// areFar says whether two networks have neither an operator nor a larger network
// in common: 16 bits of IPv4, 32 of IPv6. Two families say nothing, because one
// holder has an address of each.
func areFar(s *rule.UseSubject, a, b netip.Prefix) bool {
	if a.Addr().Is4() != b.Addr().Is4() || networkName(s, a.Addr()) == networkName(s, b.Addr()) {
		return false
	}
	bits := 32
	if a.Addr().Is4() {
		bits = 16
	}
	return !netip.PrefixFrom(a.Addr(), bits).Contains(b.Addr())
}
