// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
)

func TestWhatProves(t *testing.T) {
	a, b := driver.Listener{Address: "a:443", Protocol: "https"}, driver.Listener{Address: "b:443", Protocol: "https"}
	try := func(l driver.Listener, way, outcome string) driver.Attempt {
		return driver.Attempt{Listener: l, Address: l.Address, Way: way, Outcome: outcome}
	}
	refusedAt := func(l driver.Listener) driver.Attempt { return try(l, driver.WayFresh13, driver.OutcomeRefused) }
	acceptedAt := func(l driver.Listener) driver.Attempt { return try(l, driver.WayFresh13, driver.OutcomeAccepted) }
	account := driver.Public{Account: "account:ldap/new"}
	both := []driver.Attempt{acceptedAt(a), acceptedAt(b)}
	for name, c := range map[string]struct {
		old, new []driver.Attempt
		want     string // of the error; "" is a proof
	}{
		"refused everywhere":      {[]driver.Attempt{refusedAt(a), refusedAt(b)}, both, ""},
		"not resumed":             {[]driver.Attempt{refusedAt(a), try(a, driver.WayResumed12, driver.OutcomeNotResumed), refusedAt(b)}, both, ""},
		"nothing was tried":       {nil, both, "was not tried"},
		"one was not tried":       {[]driver.Attempt{refusedAt(a)}, both, "not tried at b:443"},
		"not resumed and no more": {[]driver.Attempt{refusedAt(a), try(b, driver.WayResumed13, driver.OutcomeNotResumed)}, both, "not tried at b:443"},
		"resumed":                 {[]driver.Attempt{refusedAt(a), refusedAt(b), try(b, driver.WayResumed13, driver.OutcomeAccepted)}, both, "still gets in"},
		"open":                    {[]driver.Attempt{refusedAt(a), refusedAt(b), try(a, driver.WayOpen, driver.OutcomeAccepted)}, both, "still gets in"},
		"an open one has ended":   {[]driver.Attempt{refusedAt(a), refusedAt(b), try(a, driver.WayOpen, driver.OutcomeFailed)}, both, ""},
		"refused when resumed":    {[]driver.Attempt{try(a, driver.WayResumed12, driver.OutcomeRefused), refusedAt(b)}, both, "not tried at a:443"},
		"failed":                  {[]driver.Attempt{refusedAt(a), refusedAt(b), try(b, driver.WayFresh12, driver.OutcomeFailed)}, both, "could not be tried"},
		"the new one is refused":  {[]driver.Attempt{refusedAt(a), refusedAt(b)}, []driver.Attempt{acceptedAt(a), refusedAt(b)}, "new one is refused"},
		"the new one is untried":  {[]driver.Attempt{refusedAt(a), refusedAt(b)}, []driver.Attempt{acceptedAt(a)}, "new one was not tried at b:443"},
	} {
		task := doors.Task{OldKeyName: "recall/1/old/2", New: account, Listeners: []driver.Listener{a, b}}
		err := proven(task, doors.Result{Attempts: c.old, NewAttempts: c.new})
		if got := errorText(err); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Where nobody has the old key the door must say that it refuses the old one: that it
// does not name it is no refusal where it lets in all of a CA.
func TestProvenByLook(t *testing.T) {
	old := driver.Public{Account: "account:ldap/uid=svc"}
	name := old.Names()[0]
	for what, c := range map[string]struct {
		view   driver.View
		proven bool
	}{
		"denied":               {driver.View{Denies: []string{name}}, true},
		"let in":               {driver.View{Accepts: []driver.Accepted{{Name: name}}}, false},
		"others are let in":    {driver.View{Accepts: []driver.Accepted{{Name: "account:ldap/uid=other"}}}, true},
		"nothing is said":      {driver.View{}, false},
		"all of a CA, and one": {driver.View{Authorities: [][]byte{{1}}, Accepts: []driver.Accepted{{Name: "account:ldap/uid=other"}}}, false},
		"still shown":          {driver.View{Denies: []string{name}, Shown: []driver.Shown{{Public: old, At: "/etc/x"}}}, false},
	} {
		err := proven(doors.Task{Old: old, Like: old}, doors.Result{View: &c.view})
		if (err == nil) != c.proven {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A place is proven when each of its listeners showed something, and none the old one.
func TestProvenByWhatIsShown(t *testing.T) {
	place := driver.Listener{Address: "a:22", Protocol: "ssh"}
	shows := func(key string) []driver.Attempt {
		return []driver.Attempt{{Listener: place, Address: place.Address, Way: driver.WayFresh, Outcome: driver.OutcomeAccepted, Served: key}}
	}
	key := []byte("old")
	served := string(tallystick.FingerprintOf(key))
	for name, c := range map[string]struct {
		attempts []driver.Attempt
		want     string // of the error; "" is a proof
	}{
		"another":            {shows("ab"), ""},
		"the old one":        {shows(served), "still shown"},
		"nothing":            {shows(""), "nobody saw"},
		"nobody looked":      {nil, "nobody saw"},
		"another, elsewhere": {[]driver.Attempt{{Listener: driver.Listener{Address: "b:22"}, Served: "ab"}}, "nobody saw"},
	} {
		for _, old := range []driver.Public{{SSH: key}, {Chain: [][]byte{key}}} {
			got := errorText(proven(doors.Task{Old: old, Listeners: []driver.Listener{place}}, doors.Result{View: &driver.View{}, Attempts: c.attempts}))
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
	}
}

func TestDrained(t *testing.T) {
	began := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return began.Add(time.Duration(minutes) * time.Minute) }
	for name, c := range map[string]struct {
		answer DrainAnswer
		now    time.Time
		done   bool
	}{
		"quiet and closed":                {DrainAnswer{Books: 1, Closed: at(60)}, at(61), true},
		"quiet, and the books lag":        {DrainAnswer{Books: 1, Closed: at(59)}, at(90), false},
		"a book was never closed":         {DrainAnswer{Books: 2}, at(1000), false},
		"used half an hour ago":           {DrainAnswer{Books: 1, Closed: at(90), Uses: 1, Last: at(60)}, at(91), false},
		"used an hour ago":                {DrainAnswer{Books: 1, Closed: at(120), Uses: 1, Last: at(60)}, at(121), true},
		"somebody else uses it":           {DrainAnswer{Books: 1, Closed: at(60), Others: 9, OthersLast: at(60)}, at(61), true},
		"nobody keeps books, too early":   {DrainAnswer{}, at(59), false},
		"nobody keeps books, long enough": {DrainAnswer{}, at(60), true},
	} {
		o := drained(c.answer, began, time.Hour, c.now)
		if done := o.wait.IsZero(); done != c.done || !done && !o.wait.After(c.now) {
			t.Errorf("%s: done is %v, look again at %s", name, done, o.wait)
		}
	}
}
