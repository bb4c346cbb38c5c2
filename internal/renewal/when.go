// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"hash/fnv"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	// DefaultShare of the lifetime passes before a certificate is renewed, in thousandths.
	DefaultShare = 667
	// latest is the share after which a certificate is renewed whatever its issuer says.
	latest = 900
	// spread is the share of the lifetime over which renewals are spread by their
	// names, so that those that were begun together do not all come again together.
	spread = 50
	// guessedLifetime is that of a certificate that is not there yet.
	guessedLifetime = 90 * 24 * time.Hour
)

// fraction returns a number from 0 up to 1 that looks random and is the same for
// the same words at every process.
func fraction(words ...string) float64 {
	h := fnv.New64a()
	for _, w := range words {
		_, _ = h.Write([]byte(w)) // never fails
		_, _ = h.Write([]byte{0})
	}
	// The low bits of FNV-1a depend on all of the text; its high ones hardly on the end.
	n := h.Sum64()
	n ^= n >> 32
	n *= 0x9e3779b97f4a7c15 // spreads them over all (Fibonacci hashing)
	return float64(n>>11) / (1 << 53)
}

// lifeShare returns after how long a certificate is renewed.
func lifeShare(name string, life time.Duration, share int64) time.Duration {
	at := time.Duration(float64(life) * float64(share) / 1000)
	return at - time.Duration(fraction("spread", name)*min(float64(life)*spread/1000, float64(at)/2))
}

// planned returns when a certificate is renewed as long as its issuer says nothing.
func planned(r store.Renewal) time.Time {
	if r.NotAfter.IsZero() {
		return r.Due
	}
	return r.NotBefore.Add(lifeShare(r.Name, r.NotAfter.Sub(r.NotBefore), r.Share))
}

// byWindow returns when and why a certificate is renewed by what its issuer says
// of it. A window that is over means now, and so does a revocation. An issuer may
// move a renewal forward as far as it likes, and back until there is little left of
// the certificate.
func byWindow(r store.Renewal, s driver.Standing, now time.Time) (due time.Time, why string) {
	if s.Status == driver.StandingRevoked {
		return now, store.DueRecall
	}
	if s.WindowStart.IsZero() || s.WindowEnd.Before(s.WindowStart) {
		return time.Time{}, ""
	}
	// RFC 9773 section 4.2: a random time within the window, and at once when it has passed.
	at := s.WindowStart.Add(time.Duration(fraction("window", r.Name) * float64(s.WindowEnd.Sub(s.WindowStart))))
	last := r.NotBefore.Add(time.Duration(float64(r.NotAfter.Sub(r.NotBefore)) * latest / 1000))
	if at.After(last) {
		return time.Time{}, ""
	}
	// A window that ends before the certificate would be renewed anyhow is no
	// ordinary one: somebody wants the certificate out of use.
	if !s.WindowEnd.After(now) && (s.Explanation != "" || s.WindowEnd.Before(planned(r))) {
		return now, store.DueRecall
	}
	return at, store.DueWindow
}

// Bounds of how often an issuer is asked what it says of one certificate (RFC 9773
// section 4.3.2), and how soon again when it does not say.
const (
	soonestLook = time.Minute
	farthest    = 24 * time.Hour
	usualLook   = 6 * time.Hour
)

// firstLook returns when to ask of a new certificate for the first time: not of
// all at once that were made together.
func firstLook(name string, now time.Time) time.Time {
	return now.Add(5*time.Minute + time.Duration(fraction("look", name)*float64(10*time.Minute)))
}

// nextLook returns when to ask again.
func nextLook(again, now time.Time) time.Time {
	if again.IsZero() {
		return now.Add(usualLook)
	}
	return now.Add(min(max(again.Sub(now), soonestLook), farthest))
}

// The back-off after the first failure, and its bounds.
const (
	firstRest   = time.Minute
	longestRest = 12 * time.Hour
	// What a CA refused it will refuse again, until somebody does something about it.
	firstRefused   = time.Hour
	longestRefused = 24 * time.Hour
	// An issuer that is away comes back for all.
	longestAway = 15 * time.Minute
)

// backOff returns how long to wait after the nth failure in a row: twice as long as
// the time before, give or take a fifth.
func backOff(name string, n int64, first, longest time.Duration) time.Duration {
	d := min(first<<min(max(n-1, 0), 20), longest) // a minute 2^20 times is two years
	return time.Duration(float64(d) * (0.8 + 0.4*fraction("rest", name, string(rune('a'+n%26)))))
}

// hurried shortens a wait for a certificate that would end meanwhile: a tenth of
// what is left is not waited longer than.
func hurried(wait time.Duration, notAfter, now time.Time) time.Duration {
	if left := notAfter.Sub(now); !notAfter.IsZero() && left > 0 {
		return min(wait, max(left/10, firstRest))
	}
	return wait
}

// pendingRest is how long to wait for an issuer that has not decided, when it does
// not say: a quarter of the time that it has had.
func pendingRest(began, now time.Time) time.Duration {
	return min(max(now.Sub(began)/4, 10*time.Second), time.Hour)
}
