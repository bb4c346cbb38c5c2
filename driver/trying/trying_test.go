// SPDX-License-Identifier: Apache-2.0

package trying_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/trying"
)

// A scene is what happens in one trial, in the order in which it happens.
type scene struct {
	lets  []string // address and secret
	ends  string   // at which of them the caller goes away
	bars  string   // the address at which no try is to be had
	did   []string
	told  []string // of tries
	stop  context.CancelFunc
	trial trying.Trial
}

func (s *scene) say(words ...string) { s.did = append(s.did, strings.Join(words, " ")) }

func (s *scene) spot(l driver.Listener, address string) trying.Spot {
	return trying.Spot{
		Listener: l, Address: address,
		Try: func(ctx context.Context, secret driver.Secret) (driver.Attempt, error) {
			one := address + " " + secret.Reveal()
			a := driver.Attempt{Listener: l, Address: address, Way: driver.WayFresh, Outcome: driver.OutcomeRefused, At: time.Now()}
			if slices.Contains(s.lets, one) {
				a.Outcome = driver.OutcomeAccepted
			}
			s.say(secret.Reveal(), a.Outcome)
			if one == s.ends {
				s.stop()
			}
			return a, ctx.Err()
		},
		MayTry: func(context.Context) error {
			if address == s.bars {
				return errors.New("no room")
			}
			s.say("may")
			return nil
		},
		Tell: func(secret driver.Secret, a driver.Attempt) { s.told = append(s.told, secret.Reveal()+" "+a.Outcome) },
	}
}

// outcomes are those of attempts.
func outcomes(attempts []driver.Attempt) string {
	var words []string
	for _, a := range attempts {
		words = append(words, a.Outcome)
	}
	return strings.Join(words, " ")
}

// The order is that of the contract, and it ends where a wrong one would follow a wrong one.
func TestOrder(t *testing.T) {
	t.Parallel()
	const one, two = "127.0.0.1:1", "127.0.0.1:2"
	both := []string{one + " new", two + " new"}
	for name, row := range map[string]struct {
		scene    scene
		old, new string
		did      []string
	}{
		"both at once": {scene{lets: append([]string{one + " old"}, both...)}, "accepted refused", "accepted accepted", []string{
			"may", "new accepted", "may", "old accepted", "new accepted",
			"may", "new accepted", "may", "old refused", "new accepted",
		}},
		"a wrong new one is counted": {scene{lets: []string{two + " new"}, trial: trying.Trial{Counts: true}}, "failed failed", "refused failed", []string{
			"may", "new refused",
		}},
		"a wrong new one is not counted": {scene{lets: []string{two + " new"}}, "failed refused", "refused accepted", []string{
			"may", "new refused", "may", "new accepted", "may", "old refused", "new accepted",
		}},
		"no room at the first": {scene{lets: both, bars: one, trial: trying.Trial{Counts: true}}, "failed failed", "failed failed", nil},
		"no room at the second": {scene{lets: both, bars: two, trial: trying.Trial{Counts: true}}, "refused failed", "accepted failed", []string{
			"may", "new accepted", "may", "old refused", "new accepted",
		}},
		"the caller goes with a wrong one": {scene{lets: both, ends: one + " old"}, "refused", "accepted", []string{
			"may", "new accepted", "may", "old refused",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := row.scene
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			s.stop = stop
			s.trial.Request = driver.SecretRequest{Old: driver.NewSecret("old"), New: driver.NewSecret("new"), TryOld: true, Now: time.Now}
			err := s.trial.Everywhere(ctx, host.Local(), []driver.Listener{{Address: one}, {Address: two}}, s.spot)
			if (err != nil) != (s.ends != "") {
				t.Errorf("it ends with %v", err)
			}
			if d := cmp.Diff([]string{row.old, row.new}, []string{outcomes(s.trial.Old), outcomes(s.trial.New)}); d != "" {
				t.Errorf("of Old and of New:\n%s", d)
			}
			if d := cmp.Diff(row.did, s.did); d != "" {
				t.Error(d)
			}
			tries := slices.DeleteFunc(slices.Clone(s.did), func(what string) bool { return what == "may" })
			if d := cmp.Diff(tries, s.told, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("what is told of tries:\n%s", d)
			}
			for _, a := range slices.Concat(s.trial.Old, s.trial.New) {
				if a.Outcome == driver.OutcomeFailed && (!strings.HasPrefix(a.Answer, "not tried: ") || a.Way != driver.WayFresh || a.At.IsZero()) {
					t.Errorf("what was not tried is %+v", a)
				}
			}
		})
	}
}

// Where somebody counts at addresses behind some at which nobody does, none is tried there after a New that
// was wrong just before.
func TestCountedLater(t *testing.T) {
	t.Parallel()
	const first, second, mail = "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:25"
	for name, row := range map[string]struct {
		lets []string
		want string
	}{
		"wrong everywhere":   {nil, "refused refused failed"},
		"wrong at the last":  {[]string{first + " new", mail + " new"}, "accepted refused failed"},
		"wrong at the first": {[]string{second + " new", mail + " new"}, "refused accepted accepted"},
	} {
		s := scene{lets: row.lets}
		s.trial.Request = driver.SecretRequest{Old: driver.NewSecret("old"), New: driver.NewSecret("new"), TryOld: true, Now: time.Now}
		err := s.trial.Everywhere(t.Context(), host.Local(), []driver.Listener{{Address: first}, {Address: second}}, s.spot)
		if err == nil {
			s.trial.Counts = true
			err = s.trial.Everywhere(t.Context(), host.Local(), []driver.Listener{{Address: mail}}, s.spot)
		}
		if got := outcomes(s.trial.New); err != nil || got != row.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, row.want)
		}
	}
}

// Who counts and is not asked about New each time is made to forget; where that fails, the trial ends.
func TestForget(t *testing.T) {
	t.Parallel()
	for forgets, want := range map[bool]string{true: "accepted accepted", false: "accepted failed"} {
		s := scene{lets: []string{"127.0.0.1:1 new", "127.0.0.1:2 new"}, trial: trying.Trial{Counts: true}}
		s.trial.Request = driver.SecretRequest{Old: driver.NewSecret("old"), New: driver.NewSecret("new"), TryOld: true, Now: time.Now}
		asked := 0
		err := s.trial.Everywhere(t.Context(), host.Local(), []driver.Listener{{Address: "127.0.0.1:1"}, {Address: "127.0.0.1:2"}}, func(l driver.Listener, address string) trying.Spot {
			spot := s.spot(l, address)
			spot.Forget = func(context.Context) bool { asked++; return forgets }
			return spot
		})
		if got := outcomes(s.trial.New); err != nil || got != want || asked != strings.Count(want, "accepted") {
			t.Errorf("forgets %v: %q, %v, asked %d times", forgets, got, err, asked)
		}
	}
}

// A listener whose addresses are not known is told with both, and stops nothing.
func TestUnfound(t *testing.T) {
	t.Parallel()
	s := scene{lets: []string{"127.0.0.1:1 new"}, trial: trying.Trial{Counts: true}}
	s.trial.Request = driver.SecretRequest{Old: driver.NewSecret("old"), New: driver.NewSecret("new"), TryOld: true, Now: time.Now}
	err := s.trial.Everywhere(t.Context(), host.Local(), []driver.Listener{{Address: "no.such.host.invalid:25"}, {Address: "127.0.0.1:1"}}, s.spot)
	if got := outcomes(s.trial.Old) + ", " + outcomes(s.trial.New); err != nil || got != "failed refused, failed accepted" {
		t.Errorf("%q, %v", got, err)
	}
	if answer := s.trial.New[0].Answer; !strings.Contains(answer, "no.such.host.invalid") {
		t.Errorf("it says %q", answer)
	}
}

// A try is told as a use, but for what came to nothing.
func TestTell(t *testing.T) {
	t.Parallel()
	var told []string
	request := driver.SecretRequest{Used: func(u tallystick.Use) {
		told = append(told, fmt.Sprint(u.Credential, " ", u.RelyingParty, " ", u.Outcome))
	}}
	for _, outcome := range []string{driver.OutcomeAccepted, driver.OutcomeRefused, driver.OutcomeFailed} {
		trying.Tell(request, []string{"account:ldap/uid=svc"}, "ldap:localhost:636", driver.Attempt{Outcome: outcome})
	}
	want := []string{"[account:ldap/uid=svc] ldap:localhost:636 success", "[account:ldap/uid=svc] ldap:localhost:636 refused"}
	if d := cmp.Diff(want, told); d != "" {
		t.Error(d)
	}
	trying.Tell(driver.SecretRequest{}, nil, "", driver.Attempt{Outcome: driver.OutcomeAccepted}) // to nobody
}
