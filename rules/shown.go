// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func shownRules() []rule.Rule { return []rule.Rule{oldCertificateLeft()} }

func oldCertificateLeft() rule.Rule {
	return rule.Rule{
		Name:  "old-certificate-left",
		Title: "One listener still shows the old certificate",
		About: "A certificate has been renewed, and one of the endpoints that show it was left behind: the others show the one for the same " +
			"names from the same issuer that was issued in the second half of its life. Clients that meet this one are refused when it ends.",
		Severity:  tallystick.SeverityLow,
		Citation:  "NIST SP 1800-16B section 5.1",
		URL:       "https://doi.org/10.6028/NIST.SP.1800-16",
		Effective: day(2020, time.June, 16),
		Do:        "Bring the newer certificate to this endpoint and let it reload; look for every other port and address that whatever renews it does not know.",
		Survey:    surveyShown,
	}
}

// mostShown bounds how many endpoints of the same names are compared with
// each other. A certificate for more of them than that is not judged.
const mostShown = 10_000

// surveyShown compares the certificates of the same names with each other.
func surveyShown(ctx context.Context, estate rule.Estate, hit func(rule.Hit) error) error {
	source, ok := estate.(rule.Shows)
	if !ok {
		return nil
	}
	var same []rule.Shown
	err := source.EachShown(ctx, func(l rule.Shown) error {
		if len(same) > 0 && !slices.Equal(same[0].Certificate.Names, l.Certificate.Names) {
			if err := tellLeftBehind(same, hit); err != nil {
				return err
			}
			same = same[:0]
		}
		if len(same) <= mostShown {
			same = append(same, l)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return tellLeftBehind(same, hit)
}

// tellLeftBehind reports the endpoints, all of the same names, whose
// certificate was renewed elsewhere. One that shows both has several keys or a
// renewal under way.
func tellLeftBehind(same []rule.Shown, hit func(rule.Hit) error) error {
	if len(same) < 2 || len(same) > mostShown {
		return nil
	}
	// The newest first; the rest of the order makes the hits the same every time.
	slices.SortFunc(same, func(a, b rule.Shown) int {
		return cmp.Or(b.Certificate.NotBefore.Compare(a.Certificate.NotBefore), cmp.Compare(a.Certificate.ID, b.Certificate.ID),
			cmp.Compare(a.Place, b.Place), cmp.Compare(a.Address, b.Address))
	})
	type endpoint struct {
		place   tallystick.Place
		address string
	}
	type finding struct {
		credential tallystick.Fingerprint
		place      tallystick.Place
	}
	told := map[finding]bool{}
	shows := map[endpoint][]*tallystick.Credential{}
	for _, l := range same {
		at := endpoint{l.Place, l.Address}
		shows[at] = append(shows[at], l.Certificate)
	}
	newest := map[string]rule.Shown{} // by issuer and kind of key
	for _, l := range same {
		family, _, _ := strings.Cut(l.Certificate.Key.Algorithm, "-")
		kind := family + " " + l.Certificate.Issuer
		latest, ok := newest[kind]
		if !ok {
			newest[kind] = l
			continue
		}
		renewed := func(c *tallystick.Credential) bool { return renews(c, l.Certificate) }
		if !renewed(latest.Certificate) || slices.ContainsFunc(shows[endpoint{l.Place, l.Address}], renewed) {
			continue
		}
		found := finding{l.Certificate.ID, l.Place}
		if told[found] {
			continue // at another address of the place
		}
		told[found] = true
		if err := hit(rule.Hit{Credential: found.credential, Place: found.place, Evidence: leftBehind(l, latest)}); err != nil {
			return err
		}
	}
	return nil
}

// renews says whether a certificate was issued to follow another one of the
// same names, and not to stand beside it.
func renews(c, old *tallystick.Credential) bool {
	return !isSelfSigned(old) && old.Lifetime() > 0 && c.Issuer == old.Issuer && c.NotAfter.After(old.NotAfter) &&
		!c.NotBefore.Before(old.NotBefore.Add(old.Lifetime()/2))
}

// leftBehind is the evidence.
func leftBehind(l, latest rule.Shown) string {
	at := string(l.Place)
	if l.Address != "" {
		at += " (" + l.Address + ")"
	}
	elsewhere := string(latest.Place)
	if latest.Address != "" {
		elsewhere += " (" + latest.Address + ")"
	}
	return clip(at + " shows the certificate for " + list(l.Certificate.Names) + " that ends on " + date(l.Certificate, l.Certificate.NotAfter) +
		"; " + elsewhere + " shows one that was issued on " + date(latest.Certificate, latest.Certificate.NotBefore))
}
