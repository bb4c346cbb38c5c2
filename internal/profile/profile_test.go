// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/profile"
	"github.com/tallystick/tallystick/rule"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func use(at time.Time, address, party string) tallystick.Use {
	return tallystick.Use{
		Side: tallystick.SideRelying, Time: at, Count: 1, Outcome: tallystick.OutcomeSuccess, Address: address, RelyingParty: party,
	}
}

// traffic is n uses over some days, from a few networks at many parties.
func traffic(n int) []tallystick.Use {
	random := rand.New(rand.NewPCG(1, 2))
	uses := make([]tallystick.Use, n)
	for i := range uses {
		at := noon.Add(time.Duration(i) * 10 * 24 * time.Hour / time.Duration(n)).Truncate(time.Microsecond)
		uses[i] = use(at, fmt.Sprintf("10.0.%d.7", random.IntN(6)), fmt.Sprintf("%s:%d/graph", []string{"entra", "ldap", "smtp"}[i%3], random.IntN(500)))
		uses[i].Operation = []string{"SIMPLE", "EXTERNAL"}[i%2]
		if i%3 == 0 {
			uses[i].Side = tallystick.SideHolder
		}
		if i%50 == 1 {
			uses[i].Outcome = tallystick.OutcomeRefused
		}
	}
	return uses
}

func learned(uses []tallystick.Use) rule.Profile {
	var p rule.Profile
	for i := range uses {
		profile.Learn(&p, &uses[i])
	}
	return p
}

var compare = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
	cmpopts.SortSlices(func(a, b rule.Network) bool { return a.Prefix.String() < b.Prefix.String() }),
	cmpopts.SortSlices(func(a, b rule.Way) bool { return a.Protocol+" "+a.Method < b.Protocol+" "+b.Method }),
}

func TestAttemptsTeachNothing(t *testing.T) {
	u := use(noon, "10.0.0.7", "https:a")
	u.Outcome = tallystick.OutcomeAttempt
	if diff := cmp.Diff(rule.Profile{}, learned([]tallystick.Use{u, {}}), compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLearn(t *testing.T) {
	uses := []tallystick.Use{
		use(noon, "10.0.0.7", "https:a"), use(noon.Add(time.Minute), "10.0.0.9", "https:b"),
		use(noon.Add(2*time.Minute), "2001:db8:1:2::3", "https:a"), use(noon.Add(3*time.Minute), "not an address", ""),
	}
	uses[1].Outcome = tallystick.OutcomeRefused
	uses[2].Count, uses[2].Until = 5, noon.Add(4*time.Minute)
	uses = append(uses, tallystick.Use{Side: tallystick.SideHolder, Time: noon.Add(time.Hour), Count: math.MaxInt64})
	got := learned(uses)
	hour := rule.Hour{Start: noon}
	hour.Parties.Add("https:a")
	hour.Parties.Add("HTTPS:b")
	v4, v6 := netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8:1::/48")
	want := rule.Profile{
		First: noon, Last: noon.Add(time.Hour), Uses: math.MaxInt64,
		Holder:      rule.SideUses{First: noon.Add(time.Hour), Last: noon.Add(time.Hour), Uses: math.MaxInt64},
		Relying:     rule.SideUses{First: noon, Last: noon.Add(4 * time.Minute), Uses: 8},
		LastRefused: noon.Add(time.Minute), Pause: 56 * time.Minute,
		Networks: []rule.Network{
			{Prefix: v4, First: noon, Last: noon.Add(time.Minute), Uses: 2},
			{Prefix: v6, First: noon.Add(2 * time.Minute), Last: noon.Add(4 * time.Minute), Uses: 5},
		},
		Stays: []rule.Stay{{Prefix: v4, From: noon, To: noon.Add(time.Minute)}, {Prefix: v6, From: noon.Add(2 * time.Minute), To: noon.Add(4 * time.Minute)}},
		Hours: []rule.Hour{hour},
		Ways:  []rule.Way{{Protocol: "https", First: noon, Uses: 6}}, // not the one that was refused
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOrder shuffles within what is kept: nothing but Pause and Stays may differ.
func TestOrder(t *testing.T) {
	uses := traffic(3000)
	uses = uses[2900:] // eight hours
	uses = slices.DeleteFunc(uses, func(u tallystick.Use) bool { return u.Time.Before(uses[len(uses)-1].Time.Add(-3 * time.Hour)) })
	want := learned(uses)
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(uses), func(i, j int) { uses[i], uses[j] = uses[j], uses[i] })
	if diff := cmp.Diff(want, learned(uses), compare, cmpopts.IgnoreFields(rule.Profile{}, "Pause", "Stays")); diff != "" {
		t.Errorf("the order matters (-in order +shuffled):\n%s", diff)
	}
}

func TestBounds(t *testing.T) {
	var uses []tallystick.Use
	for i := range 5000 {
		uses = append(uses, use(noon.Add(time.Duration(i)*7*time.Minute), fmt.Sprintf("10.%d.%d.1", i/200, i%200), fmt.Sprint("https:", i)))
	}
	p := learned(uses)
	if len(p.Networks) != rule.MaxNetworks || len(p.Stays) != rule.MaxStays || len(p.Hours) != rule.MaxHours || !p.Forgotten {
		t.Errorf("%d networks, %d stays, %d hours, forgotten %v", len(p.Networks), len(p.Stays), len(p.Hours), p.Forgotten)
	}
	if p.Network(netip.MustParsePrefix("10.24.199.0/24")) == nil || p.Network(netip.MustParsePrefix("10.0.0.0/24")) != nil {
		t.Error("the newest network is not there, or the oldest is")
	}
	old := use(noon.AddDate(0, 0, -1), "192.0.2.1", "https:old")
	before := p.Rhythm
	profile.Learn(&p, &old)
	if p.Network(netip.MustParsePrefix("192.0.2.0/24")) != nil || !p.First.Equal(old.Time) || before != p.Rhythm || len(p.Hours) != rule.MaxHours {
		t.Error("a late record pushed out a newer one")
	}
	if size := len(profile.Encode(nil, &p)); size > 2048 {
		t.Errorf("%d bytes", size)
	}
}

func TestEncodeAndDecode(t *testing.T) {
	for _, n := range []int{0, 1, 10, 4000} {
		p := learned(traffic(n))
		text := profile.Encode(nil, &p)
		got, err := profile.Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, got, compare); diff != "" {
			t.Errorf("%d uses (-want +got):\n%s", n, diff)
		}
		t.Logf("%d uses: %d bytes", n, len(text))
		for cut := range text {
			if _, err := profile.Decode(text[:cut]); !errors.Is(err, tallystick.ErrInvalid) {
				t.Fatalf("cut at %d of %d: %v", cut, len(text), err)
			}
		}
		if _, err := profile.Decode(append(text, 0)); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("something behind it: %v", err)
		}
	}
}

// TestMerge learns halves by themselves: joined, they are the whole but for what
// depends on order.
func TestMerge(t *testing.T) {
	uses := traffic(4000)
	var halves [2][]tallystick.Use
	for i, u := range uses {
		halves[i%2] = append(halves[i%2], u)
	}
	a, b := learned(halves[0]), learned(halves[1])
	before := profile.Encode(nil, &a)
	got := profile.Merge(&a, &b)
	if diff := cmp.Diff(learned(uses), got, compare, cmpopts.IgnoreFields(rule.Profile{}, "Pause", "Stays", "Rhythm")); diff != "" {
		t.Errorf("(-whole +joined):\n%s", diff)
	}
	if diff := cmp.Diff(got, profile.Merge(&b, &a), compare); diff != "" {
		t.Errorf("a with b is not b with a:\n%s", diff)
	}
	if diff := cmp.Diff(before, profile.Encode(nil, &a)); diff != "" {
		t.Error("Merge changed what it was given")
	}
	var none rule.Profile
	if diff := cmp.Diff(a, profile.Merge(&none, &a), compare); diff != "" {
		t.Errorf("with nothing (-want +got):\n%s", diff)
	}
}

// TestWays keeps as many as there is room for, and a word of a stranger no longer than it must be.
func TestWays(t *testing.T) {
	var uses []tallystick.Use
	for i := range 20 {
		u := use(noon.Add(time.Duration(i)*time.Minute), "10.0.0.7", "ldap:dc1")
		u.Operation = fmt.Sprint(strings.Repeat("é", 50*(i%2)), "method ", i/2)
		uses = append(uses, u)
	}
	p := learned(uses)
	if len(p.Ways) != rule.MaxWays {
		t.Errorf("%d ways", len(p.Ways))
	}
	long := p.Ways[1]
	if long.Method != strings.Repeat("é", 20) || long.Uses != 10 || !long.First.Equal(noon.Add(time.Minute)) {
		t.Errorf("%+v", long)
	}
	if size := len(profile.Encode(nil, &p)); size > 2048 {
		t.Errorf("%d bytes", size)
	}
	if diff := cmp.Diff(p.Ways, profile.Merge(&p, &rule.Profile{}).Ways, compare); diff != "" {
		t.Errorf("with nothing (-want +got):\n%s", diff)
	}
	both := profile.Merge(&p, &p)
	if len(both.Ways) != rule.MaxWays || both.Way(long).Uses != 20 {
		t.Errorf("with itself: %+v", both.Ways)
	}
}

// TestDecodeWayless reads what was written before ways were learned.
func TestDecodeWayless(t *testing.T) {
	p := learned(traffic(100))
	p.Ways = nil
	text := profile.Encode(nil, &p)
	text[0] = 1
	got, err := profile.Decode(text[:len(text)-1]) // without the number of ways
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, got, compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzDecode(f *testing.F) {
	for _, n := range []int{0, 1, 40, 4000} {
		p := learned(traffic(n))
		f.Add(profile.Encode(nil, &p))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := profile.Decode(b)
		if err != nil {
			return
		}
		again, err := profile.Decode(profile.Encode(nil, &p))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, again, compare); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
		for _, u := range traffic(20) {
			profile.Learn(&p, &u)
		}
		profile.Merge(&p, &again)
	})
}

// BenchmarkLearn is the way of every record: two sides, six networks, 500 parties.
func BenchmarkLearn(b *testing.B) {
	uses := traffic(20000)
	p := learned(uses)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		profile.Learn(&p, &uses[i])
		if i++; i == len(uses) {
			i = 0
		}
	}
}
