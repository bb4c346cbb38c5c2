// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules/weakkey"
)

func sharedPrime() rule.Rule {
	return rule.Rule{
		Name:  "shared-prime",
		Title: "RSA keys that share a prime",
		About: "Two different RSA keys of this inventory have a prime in common, usually because devices made them before they had enough " +
			"randomness. Whoever sees both public keys can compute both private ones. Every RSA key is compared with every other.",
		Severity:  tallystick.SeverityCritical,
		Citation:  "Heninger, Durumeric, Wustrow, Halderman: Mining Your Ps and Qs, USENIX Security 2012",
		URL:       "https://factorable.net/paper.html",
		Effective: day(2012, time.August, 8),
		Do:        "Make new keys on a machine with a good source of randomness, revoke what carries the old ones, and treat every key of the same device model as broken.",
		Survey:    surveyPrimes,
	}
}

// shortestFactor is the length from which a common factor is a prime of a key.
// Shorter ones come of damaged moduli, which weak-key reports.
const shortestFactor = 64

// surveyPrimes reads the keys once to find the moduli that share, as long as it
// has kept what it learned the last time; and once more to see whose they are.
func surveyPrimes(ctx context.Context, estate rule.Estate, hit func(rule.Hit) error) error {
	return surveyPrimesBy(ctx, estate, partSize, hit)
}

func surveyPrimesBy(ctx context.Context, estate rule.Estate, part int, hit func(rule.Hit) error) error {
	suspects, err := primeSuspects(ctx, estate, part)
	if err != nil {
		return fmt.Errorf("couldn't compare the RSA keys with each other: %w", err)
	}
	shares, err := weakkey.Shared(ctx, weakkey.Moduli(suspects))
	if err != nil {
		return fmt.Errorf("couldn't tell which RSA keys share a prime: %w", err)
	}
	lost := make(map[string]*lostKey)
	for _, share := range shares {
		if share.Bits == 0 || share.Bits >= shortestFactor {
			lost[string(share.Modulus.Bytes())] = &lostKey{share: share}
		}
	}
	if len(lost) == 0 {
		return nil
	}
	err = estate.Keys(ctx, "rsa-", func(use rule.KeyUse) error {
		if n, _, ok := examined(&use.Key); ok {
			if key := lost[string(n.Bytes())]; key != nil {
				key.add(use)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, share := range shares {
		if key := lost[string(share.Modulus.Bytes())]; key != nil {
			if err := key.report(lost, hit); err != nil {
				return err
			}
		}
	}
	return nil
}

// A lostKey is a modulus that shares a prime, with the credentials that carry
// it. Several keys can have one modulus, with different exponents.
type lostKey struct {
	share   weakkey.Share
	name    string // of the first key
	bearers []tallystick.Fingerprint
}

func (k *lostKey) add(use rule.KeyUse) {
	if name := use.Key.ID.Short(); k.name == "" || name < k.name {
		k.name = name
	}
	for _, bearer := range use.Credentials {
		k.bearers = append(k.bearers, bearer.ID)
	}
}

// report gives a hit for each credential.
func (k *lostKey) report(lost map[string]*lostKey, hit func(rule.Hit) error) error {
	var others []string
	for _, n := range k.share.With {
		if other := lost[string(n.Bytes())]; other != nil && other.name != "" {
			others = append(others, other.name)
		}
	}
	slices.Sort(others)
	evidence := "has a prime in common with other keys"
	switch {
	case len(others) == weakkey.MaxWith: // there may be more, which are not counted
		evidence = fmt.Sprintf("has a prime of %d bits in common with the keys %s and others", k.share.Bits, strings.Join(others[:3], ", "))
	case len(others) > 1:
		evidence = fmt.Sprintf("has a prime of %d bits in common with the keys %s", k.share.Bits, list(others))
	case len(others) == 1:
		evidence = fmt.Sprintf("has a prime of %d bits in common with the key %s", k.share.Bits, others[0])
	}
	slices.Sort(k.bearers)
	for _, bearer := range slices.Compact(k.bearers) {
		if err := hit(rule.Hit{Credential: bearer, Evidence: evidence}); err != nil {
			return err
		}
	}
	return nil
}
