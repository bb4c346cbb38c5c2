// SPDX-License-Identifier: Apache-2.0

package installing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/probing"
)

const (
	// looks are how many looks in a row must agree, and settling the time between two.
	looks    = 4
	settling = 30 * time.Millisecond
)

// trying is for how long the last handshakes may go on after patience has ended.
const trying = 10 * time.Second

// ServedEverywhere makes handshakes with the listeners until every address of all of
// them shows want, or patience ends; then it says which shows what instead. A server may
// show a credential of another kind of key beside it. Without listeners nothing is looked at.
//
// With patience, several looks in a row must agree: after a reload the old processes of a
// server go on taking connections for a moment, beside the new ones. Without, there is one look.
func ServedEverywhere(ctx context.Context, h driver.Host, listeners []driver.Listener, want driver.Public, patience time.Duration, now func() time.Time) ([]driver.Shown, error) {
	wanted := fingerprint(want)
	if wanted == "" {
		return nil, invalid("only certificates and SSH keys are shown by listeners")
	}
	ctx, cancel := context.WithTimeout(ctx, patience+trying)
	defer cancel()
	agreed := 0
	for began, pause := time.Now(), 10*time.Millisecond; ; pause = min(2*pause, time.Second) {
		shown, attempts := probing.Look(ctx, h, listeners, now)
		wrong := differing(shown, attempts, want, wanted)
		if wrong == nil {
			agreed, pause = agreed+1, settling
		} else {
			agreed = 0
		}
		if wrong == nil && (agreed == looks || patience == 0 || len(listeners) == 0) {
			return slices.DeleteFunc(shown, func(s driver.Shown) bool { return !s.Is(want) }), nil
		}
		if wrong != nil && time.Since(began) >= patience {
			return nil, wrong
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), wrong)
		}
	}
}

// fingerprint is how an Attempt names what was served.
func fingerprint(p driver.Public) string {
	if len(p.Chain) > 0 {
		return string(tallystick.FingerprintOf(p.Chain[0]))
	}
	if len(p.SSH) > 0 {
		return string(tallystick.FingerprintOf(p.SSH))
	}
	return ""
}

// differing names the first addresses that do not show what they should.
func differing(shown []driver.Shown, attempts []driver.Attempt, want driver.Public, wanted string) error {
	kinds := map[string]string{} // of the keys of what was served
	for _, s := range shown {
		kinds[fingerprint(s.Public)] = s.Public.KeyAlgorithm()
	}
	right, wrong, beside := map[string]bool{}, map[string]string{}, map[string]string{}
	for _, a := range attempts {
		at := spotOf(a)
		switch {
		case a.Served == wanted:
			right[at] = true
		case a.Served == "":
			wrong[at] = "nothing: " + a.Answer
		case kinds[a.Served] == want.KeyAlgorithm():
			wrong[at] = short(a.Served)
		default:
			beside[at] = short(a.Served) + " alone"
		}
	}
	for at, text := range beside {
		if !right[at] && wrong[at] == "" {
			wrong[at] = text
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	var texts []string
	for _, at := range slices.Sorted(maps.Keys(wrong)) {
		texts = append(texts, at+" shows "+wrong[at])
	}
	if len(texts) > 3 {
		texts = append(texts[:3], fmt.Sprintf("and %d more", len(texts)-3))
	}
	return fmt.Errorf("not every listener shows %s: %s", short(wanted), strings.Join(texts, "; "))
}

// spotOf names the address that an attempt was made at, for people.
func spotOf(a driver.Attempt) string {
	text := a.Address
	if a.Listener.Address != a.Address {
		text = a.Listener.Address + " at " + a.Address
	}
	if a.Listener.ServerName != "" {
		text += " as " + a.Listener.ServerName
	}
	return text
}

func short(fingerprint string) string { return fingerprint[:min(16, len(fingerprint))] }
