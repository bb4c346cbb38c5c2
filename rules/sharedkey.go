// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func sharedKey() rule.Rule {
	return rule.Rule{
		Name:  "shared-key",
		Title: "One private key in several hands",
		About: "Credentials of several owners carry the same key, so that each can act as the others, and one loss is everybody's. A private " +
			"key that lies at more than one place is info: each copy is one more to guard and to find when it has to be replaced.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "CA/Browser Forum TLS Baseline Requirements section 9.6.3",
		URL:       "https://cabforum.org/working-groups/server/baseline-requirements/requirements/",
		Effective: day(2012, time.July, 1),
		Do:        "Give each owner and each machine a key of its own, and delete the copies.",
		Survey: func(ctx context.Context, estate rule.Estate, hit func(rule.Hit) error) error {
			return estate.Keys(ctx, "", func(use rule.KeyUse) error { return surveySharing(use, hit) })
		},
	}
}

// surveySharing judges one key. Several owners are told on each of their
// credentials; copies are told once, on the bare key where there is one.
func surveySharing(use rule.KeyUse, hit func(rule.Hit) error) error {
	owners := distinct(use.Credentials, func(b rule.KeyBearer) []string { return []string{b.Owner} })
	if len(owners) > 1 {
		evidence := clip("the key is shared by its owners " + list(owners))
		for _, bearer := range use.Credentials {
			if bearer.Owner == "" {
				continue
			}
			if err := hit(rule.Hit{Credential: bearer.ID, Evidence: evidence}); err != nil {
				return err
			}
		}
		return nil
	}
	places := distinct(use.Credentials, func(b rule.KeyBearer) []tallystick.Place { return b.Holds })
	if len(places) < 2 {
		return nil
	}
	return hit(rule.Hit{
		Credential: spokesman(use.Credentials).ID,
		Evidence:   clip(fmt.Sprintf("the private key is at %d places: %s", len(places), list(places))),
		Severity:   tallystick.SeverityInfo,
	})
}

// spokesman returns the bearer that stands for the key: the same one for the
// same bearers in whatever order.
func spokesman(bearers []rule.KeyBearer) rule.KeyBearer {
	rank := func(b rule.KeyBearer) int {
		switch {
		case len(b.Holds) == 0:
			return 2
		case b.Kind == tallystick.KindKey:
			return 0
		}
		return 1
	}
	return slices.MinFunc(bearers, func(a, b rule.KeyBearer) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.ID, b.ID))
	})
}

// distinct returns the words of all bearers, sorted, each once, without "".
func distinct[S ~string](bearers []rule.KeyBearer, of func(rule.KeyBearer) []S) []S {
	var words []S
	for _, b := range bearers {
		for _, word := range of(b) {
			if word != "" {
				words = append(words, word)
			}
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}
