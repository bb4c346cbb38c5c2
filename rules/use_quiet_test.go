// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/profile"
	"github.com/tallystick/tallystick/rule"
)

// A month is the uses of one credential, in order.
type month struct {
	random *rand.Rand
	uses   []tallystick.Use
}

const days = 42

var monthStart = time.Date(2020, 12, 7, 0, 0, 0, 0, time.UTC)

func (m *month) add(at time.Time, address string, tenant int) {
	u := *used()().Use
	u.Time, u.Address, u.RelyingParty = at, address, fmt.Sprintf("entra:tenant-%04d/exchange", tenant)
	m.uses = append(m.uses, u)
	u.Side, u.Time = tallystick.SideHolder, at.Add(time.Duration(m.random.IntN(900))*time.Millisecond)
	m.uses = append(m.uses, u)
}

// rotation serves 3,600 tenants in turn: many an hour on workdays, few at night and
// at weekends, with a batch at 02:00. Its traffic comes from the addresses in turn.
func (m *month) rotation(addresses ...string) {
	tenant := 0
	for day := range days {
		for hour := range 24 {
			at := monthStart.AddDate(0, 0, day).Add(time.Duration(hour) * time.Hour)
			n := 1 + m.random.IntN(3)
			if weekday := at.Weekday(); weekday != time.Saturday && weekday != time.Sunday && hour >= 7 && hour < 18 {
				n = 100 + m.random.IntN(60)
			}
			for i := range n {
				tenant = (tenant + 1) % 3600
				m.add(at.Add(time.Duration(i)*time.Hour/time.Duration(n)), addresses[m.random.IntN(len(addresses))], tenant)
			}
			if hour == 2 {
				m.batch(at.Add(10*time.Minute), addresses[0])
			}
		}
	}
}

// batch is fifty uses at one tenant, a few seconds apart.
func (m *month) batch(at time.Time, address string) {
	for i := range 50 {
		m.add(at.Add(time.Duration(i*20)*time.Second), address, 1)
	}
}

// findings judges and learns use by use, as records come, and returns the rules that
// speak, each with its different texts. Uses of the thief are shown once more, as
// foreign.
func (m *month) findings(t testing.TB, thief string) map[string]map[string]bool {
	t.Helper()
	slices.SortStableFunc(m.uses, func(a, b tallystick.Use) int { return a.Time.Compare(b.Time) })
	found := map[string]map[string]bool{}
	judges := slices.DeleteFunc(All(), func(r rule.Rule) bool { return r.Use == nil })
	s := used()()
	look := func() {
		for _, r := range judges {
			for _, hit := range r.Use(s) {
				if found[r.Name] == nil {
					found[r.Name] = map[string]bool{}
				}
				found[r.Name][hit.Evidence] = true
			}
		}
	}
	for i := range m.uses {
		s.Use = &m.uses[i]
		look()
		profile.Learn(s.Profile, s.Use)
		if s.Use.Address == thief {
			s.Verdict, s.Reason = tallystick.VerdictForeign, foreignUseReason
			look()
			s.Verdict, s.Reason = "", ""
		}
	}
	return found
}

const foreignUseReason = "the holder never received this token"

func newMonth(seed uint64) *month { return &month{random: rand.New(rand.NewPCG(seed, 2021))} }

func TestOrdinaryMonthsRaiseNothing(t *testing.T) {
	for name, traffic := range map[string]func(*month){
		"one address":     func(m *month) { m.rotation("203.0.113.7") },
		"three addresses": func(m *month) { m.rotation("203.0.113.7", "192.0.2.40", "198.18.4.4") },
		"a nightly batch": func(m *month) {
			for day := range days {
				m.batch(monthStart.AddDate(0, 0, day).Add(3*time.Hour), "203.0.113.7")
			}
		},
		"a monthly batch of all tenants": func(m *month) {
			for i := range 3600 {
				m.add(monthStart.Add(time.Duration(i)*time.Second), "203.0.113.7", i)
				m.add(monthStart.AddDate(0, 0, 31).Add(time.Duration(i)*time.Second), "203.0.113.7", i)
			}
		},
	} {
		m := newMonth(7)
		traffic(m)
		if found := m.findings(t, ""); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
}

// TestTheTheftOfJanuary2021 has somebody with the stolen key walk over 40 tenants
// in two hours of a night while the holder goes about its work.
func TestTheTheftOfJanuary2021(t *testing.T) {
	const thief = "198.51.100.99"
	m := newMonth(1)
	m.rotation("203.0.113.7")
	night := time.Date(2021, 1, 12, 2, 0, 0, 0, time.UTC)
	for i := range 40 {
		m.add(night.Add(time.Duration(i)*3*time.Minute), thief, 1000+i*7)
		m.uses = m.uses[:len(m.uses)-1] // the holder has no record of it
	}
	found := m.findings(t, thief)
	want := []string{"foreign-use", "impossible-concurrency", "relying-party-sweep", "use-new-network"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(found))); diff != "" {
		t.Errorf("rules that speak (-want +got):\n%s", diff)
	}
	for name, texts := range found {
		if len(texts) != 1 {
			t.Errorf("%s: one theft has %d texts: %v", name, len(texts), texts)
		}
	}
}
