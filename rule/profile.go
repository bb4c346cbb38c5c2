// SPDX-License-Identifier: Apache-2.0

package rule

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// How much a Profile holds of each, so that one takes at most 4 kB.
const (
	MaxNetworks = 16
	MaxStays    = 8
	MaxHours    = 4
	MaxWays     = 8
)

// A Profile is how a credential was used so far, in bounded memory. The zero
// value is that of a credential that was never used. Package profile, which
// keeps it, says what depends on the order in which records came; the methods
// only read. Attempts are not in it: they prove nothing, and teach nothing.
type Profile struct {
	First, Last time.Time // of its uses, by either side
	// Uses is how many were recorded, of both sides together: one that both
	// have recorded is there twice.
	Uses            int64
	Holder, Relying SideUses
	LastRefused     time.Time // when a relying party last refused it although the key was held
	// Pause is the longest time between two uses that followed each other.
	Pause time.Duration

	// Networks are where relying parties saw it used from, in no order.
	Networks []Network
	// Forgotten says that there were more networks than are kept, so that one
	// which is not there need not be new.
	Forgotten bool
	// Stays are the last times at which it was used from one network without a
	// break, the newest last.
	Stays []Stay

	// Ways are how relying parties saw it sign in, in no order. Where there are MaxWays, one that
	// is not among them need not be new.
	Ways []Way

	// Hours are the newest hours in which relying parties saw it, the newest last.
	Hours  []Hour
	Rhythm Rhythm // of the hours before those
}

// SideUses are the uses that one side recorded.
type SideUses struct {
	First, Last time.Time
	Uses        int64
}

// A Network is one that a credential was used from; see NetworkOf.
type Network struct {
	Prefix      netip.Prefix
	First, Last time.Time
	Uses        int64
}

// A Stay is uses that followed each other from one network.
type Stay struct {
	Prefix   netip.Prefix
	From, To time.Time
}

// An Hour is at which relying parties a credential was used in one hour.
type Hour struct {
	Start   time.Time // UTC
	Parties Sketch
}

// A Way is how a credential signs in: a protocol, and by what method of it.
type Way struct {
	Protocol string // of the relying party: "ldap", "kerberos", "pop3", "entra"
	Method   string // "SIMPLE", "PK-INIT(ietf) Pre-authentication", "publickey"; "" is not told
	First    time.Time
	Uses     int64
}

// maxWord bounds what of a protocol and of a method counts, in bytes.
const maxWord = 40

// WayOf returns how a relying party saw a use sign in, without First and Uses; false where its
// record does not say, or is not of a sign-in. Who was refused has not signed in.
func WayOf(u *tallystick.Use) (Way, bool) {
	protocol, _, named := strings.Cut(u.RelyingParty, ":")
	switch {
	case u.Side != tallystick.SideRelying || u.Outcome != tallystick.OutcomeSuccess || !named || protocol == "":
		return Way{}, false
	case u.Level.Rank() == tallystick.LevelSignature.Rank() || u.Level == tallystick.LevelCall:
		return Way{}, false
	}
	way := Way{Protocol: word(protocol)}
	switch protocol {
	case "imap", "kerberos", "ldap", "pop3", "postgres", "smtp", "ssh": // elsewhere an operation is what was asked for
		way.Method = word(strings.TrimPrefix(u.Operation, "SASL ")) // as Postfix writes what Dovecot calls PLAIN
	}
	if strings.Trim(way.Method, "0123456789") == "" {
		way.Method = "" // the number of an event of Windows
	}
	return way, true
}

func word(text string) string {
	if len(text) <= maxWord {
		return text
	}
	return strings.ToValidUTF8(text[:maxWord], "")
}

// Way returns what is known of a way; nil when nothing is.
func (p *Profile) Way(way Way) *Way {
	for i := range p.Ways {
		if p.Ways[i].Protocol == way.Protocol && strings.EqualFold(p.Ways[i].Method, way.Method) {
			return &p.Ways[i]
		}
	}
	return nil
}

// Like says whether two ways may be one: a log that has no method leaves it open.
func (w Way) Like(other Way) bool {
	return w.Protocol == other.Protocol && (w.Method == "" || other.Method == "" || strings.EqualFold(w.Method, other.Method))
}

// A Rhythm has the most relying parties of an hour, for each hour of a weekday and
// of a day at the weekend (UTC). What was high fades by an eighth each day that it
// is not reached again.
type Rhythm [2][24]uint16

// slotOf returns the place of an hour in a rhythm.
func (r *Rhythm) slotOf(at time.Time) *uint16 {
	at = at.UTC()
	kind := 0
	if day := at.Weekday(); day == time.Saturday || day == time.Sunday {
		kind = 1
	}
	return &r[kind][at.Hour()]
}

// Note adds an hour that is over.
func (r *Rhythm) Note(h *Hour) {
	slot := r.slotOf(h.Start)
	*slot = max(uint16(h.Parties.Count()), *slot-(*slot+7)/8)
}

// Most returns the most relying parties that the hour of at, the one before or the
// one after usually has: summer time moves a rhythm by an hour.
func (r *Rhythm) Most(at time.Time) int {
	return int(max(*r.slotOf(at.Add(-time.Hour)), *r.slotOf(at), *r.slotOf(at.Add(time.Hour))))
}

// PartiesAt returns at how many relying parties the credential was used in the
// hour of at; 0 when that hour is no longer known.
func (p *Profile) PartiesAt(at time.Time) int {
	start := at.Truncate(time.Hour)
	for i := range p.Hours {
		if p.Hours[i].Start.Equal(start) {
			return p.Hours[i].Parties.Count()
		}
	}
	return 0
}

// Network returns what is known of a network; nil when nothing is.
func (p *Profile) Network(prefix netip.Prefix) *Network {
	for i := range p.Networks {
		if p.Networks[i].Prefix == prefix {
			return &p.Networks[i]
		}
	}
	return nil
}

// Located returns when it was first seen in a network that is still known, and
// how many uses were.
func (p *Profile) Located() (first time.Time, uses int64) {
	for i := range p.Networks {
		n := &p.Networks[i]
		if first.IsZero() || n.First.Before(first) {
			first = n.First
		}
		uses = Sum(uses, n.Uses)
	}
	return first, uses
}

// SignedIn returns when it first signed in in a way that is known, how often it did in any of these,
// and in which it mostly did.
func (p *Profile) SignedIn() (first time.Time, uses int64, mostly Way) {
	for _, w := range p.Ways {
		if first.IsZero() || w.First.Before(first) {
			first = w.First
		}
		uses = Sum(uses, w.Uses)
		if w.Uses > mostly.Uses {
			mostly = w
		}
	}
	return first, uses, mostly
}

// Sum adds counts that strangers wrote, and stays at the largest number.
func Sum(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// NetworkOf returns the prefix that stands for the network of an address: 24 bits
// of IPv4, 48 of IPv6.
func NetworkOf(a netip.Addr) netip.Prefix {
	bits := 48
	if a = a.Unmap(); a.Is4() {
		bits = 24
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
