// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func expiryRules() []rule.Rule {
	return []rule.Rule{expired(), expiresSoon(), lifetimeTooLong(), notYetValid()}
}

func expired() rule.Rule {
	return rule.Rule{
		Name:  "expired",
		Title: "Expired",
		About: "The end of the validity period has passed. Who checks dates refuses it, and who does not check them " +
			"accepts a credential that its issuer no longer answers for. It is high where something serves or uses it and low where it only lies about.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "RFC 5280 section 4.1.2.5",
		URL:       "https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.5",
		Effective: day(2008, time.May, 1),
		Do:        "Replace it where it is in use, and delete it where it is not.",
		Check:     checkExpired,
	}
}

func checkExpired(s rule.Subject) []rule.Hit {
	c := s.Credential
	if c.NotAfter.IsZero() || s.Now.Before(endOf(c)) {
		return nil
	}
	switch at := standingOf(&s); {
	case at.working():
		return one(tallystick.SeverityHigh, "expired on %s", date(c, c.NotAfter))
	case at.chain || at.held && !at.sample():
		return one(tallystick.SeverityMedium, "expired on %s", date(c, c.NotAfter))
	case at.relied:
		return one(tallystick.SeverityMedium, "expired on %s; a service believes what it issued", date(c, c.NotAfter))
	case isAnchor(&s):
		return one(at.idleSeverity(), "expired on %s; still trusted by programs that do not check the dates of a root", date(c, c.NotAfter))
	default:
		return one(at.idleSeverity(), "expired on %s; nothing is known to use it", date(c, c.NotAfter))
	}
}

func expiresSoon() rule.Rule {
	return rule.Rule{
		Name:  "expires-soon",
		Title: "Expires soon",
		About: "Less than a third of its life is left, or less than half of a life under ten days, and at most a year: by then " +
			"whatever renews it should have done so. It becomes medium and high as the end comes near.",
		Severity:  tallystick.SeverityLow,
		Citation:  "EFF, Certbot 4.0: dynamic renewal at a third of the lifetime",
		URL:       "https://www.eff.org/deeplinks/2025/04/certbot-40-long-live-short-lived-certs",
		Effective: day(2025, time.April, 11),
		Do:        "Renew it now, and find out why it was not renewed by itself.",
		Check:     checkExpiresSoon,
	}
}

func checkExpiresSoon(s rule.Subject) []rule.Hit {
	c := s.Credential
	w, ok := windowOf(c)
	if !ok || s.Now.Before(w.renew) || !s.Now.Before(w.end) {
		return nil
	}
	at := standingOf(&s)
	idle := at.idle() && !at.relied || at.sample()
	if idle && (c.IsCA || at.packaged || isAnchor(&s)) {
		return nil // trust stores and packages are renewed by those who make them
	}
	severity := tallystick.SeverityLow
	switch {
	case idle:
	case !s.Now.Before(w.high):
		severity = tallystick.SeverityHigh
	case !s.Now.Before(w.medium):
		severity = tallystick.SeverityMedium
	}
	return one(severity, "valid until %s, of %s in all; renewal was due on %s",
		date(c, c.NotAfter), span(w.end.Sub(c.NotBefore)), date(c, w.renew))
}

// A window is the last stretch of a life, as the instants at which it gets worse.
type window struct{ renew, medium, high, end time.Time }

// The shares of expires-soon. Short lives are renewed at half-time, so that
// there are days left for a second try; long ones need no more notice than a
// person can use.
const (
	aDay       = 24 * time.Hour
	shortLife  = 10 * aDay
	mostNotice = 365 * aDay
	mostMedium = 30 * aDay
	mostHigh   = 14 * aDay
)

func windowOf(c *tallystick.Credential) (window, bool) {
	if c.Lifetime() == 0 {
		return window{}, false
	}
	end := endOf(c)
	life := end.Sub(c.NotBefore)
	notice := life / 3
	if life < shortLife {
		notice = life / 2
	}
	notice = min(notice, mostNotice)
	return window{
		renew:  end.Add(-notice),
		medium: end.Add(-min(notice/2, mostMedium)),
		high:   end.Add(-min(notice/4, mostHigh)),
		end:    end,
	}, true
}

// endOf returns the first instant at which c is no longer valid. The last
// second of an X.509 certificate belongs to it (RFC 5280 section 4.1.2.5),
// that of an SSH certificate does not ("current time < valid before",
// OpenSSH PROTOCOL.certkeys).
func endOf(c *tallystick.Credential) time.Time {
	if c.Kind == tallystick.KindSSHCertificate {
		return c.NotAfter
	}
	return c.NotAfter.Add(time.Second)
}

func lifetimeTooLong() rule.Rule {
	return rule.Rule{
		Name:  "lifetime-too-long",
		Title: "Valid for longer than the public web allows",
		About: "A publicly trusted TLS server certificate is valid for more days than the CA/Browser Forum allowed on the day of its issue: " +
			"825 from 2018-03-01, 398 from 2020-09-01, 200 from 2026-03-15, 100 from 2027-03-15, 47 from 2029-03-15. Browsers refuse it.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "CA/Browser Forum TLS Baseline Requirements section 6.3.2",
		URL:       "https://cabforum.org/working-groups/server/baseline-requirements/requirements/",
		Effective: day(2018, time.March, 1),
		Do:        "Have it issued again with a shorter lifetime, and renew it by machine.",
		Check:     checkLifetime,
	}
}

// lifetimeLimits is the history of section 6.3.2, newest first.
var lifetimeLimits = []struct {
	from time.Time
	days int
}{
	{day(2029, time.March, 15), 47},
	{day(2027, time.March, 15), 100},
	{day(2026, time.March, 15), 200},
	{day(2020, time.September, 1), 398},
	{day(2018, time.March, 1), 825},
}

func checkLifetime(s rule.Subject) []rule.Hit {
	c := s.Credential
	if c.Kind != tallystick.KindCertificate || !s.Public || c.IsCA || !speaksForServers(c) || c.Lifetime() == 0 {
		return nil
	}
	for _, limit := range lifetimeLimits {
		if c.NotBefore.Before(limit.from) {
			continue
		}
		// Both ends are part of the period, and any part of a second over
		// 86,400 of them begins another day (section 6.3.2).
		if c.Lifetime() > time.Duration(limit.days)*aDay-time.Second {
			return one(0, "valid for %d days, issued on %s when %d days were allowed", c.Lifetime()/aDay+1, date(c, c.NotBefore), limit.days)
		}
		break
	}
	return nil
}

// speaksForServers leaves out certificates for code and mail, which have
// limits of their own. Without a usage a certificate may be used for anything.
func speaksForServers(c *tallystick.Credential) bool {
	for _, usage := range c.Usages {
		if usage == "server" || usage == "any" {
			return true
		}
	}
	return len(c.Usages) == 0
}

func notYetValid() rule.Rule {
	return rule.Rule{
		Name:      "not-yet-valid",
		Title:     "Not valid yet",
		About:     "The validity period has not begun. Who checks dates refuses it; a wrong clock is as likely a cause as a wrong certificate. It is low where nothing serves or uses it.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "RFC 5280 section 4.1.2.5",
		URL:       "https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.5",
		Effective: day(2008, time.May, 1),
		Do:        "Check the clocks of this machine and of the issuer; until the period begins, serve a certificate that is valid.",
		Check:     checkNotYetValid,
	}
}

func checkNotYetValid(s rule.Subject) []rule.Hit {
	c := s.Credential
	if c.NotBefore.IsZero() || !s.Now.Before(c.NotBefore) {
		return nil
	}
	severity := tallystick.SeverityLow
	if standingOf(&s).working() {
		severity = tallystick.SeverityHigh
	}
	return one(severity, "valid from %s on", date(c, c.NotBefore))
}

// date writes an instant of a credential's life: the day, or the minute too
// where a life is so short that the day does not say enough.
func date(c *tallystick.Credential, t time.Time) string {
	if c.Lifetime() < shortLife {
		return t.UTC().Format("2006-01-02 15:04 UTC")
	}
	return t.UTC().Format(time.DateOnly)
}

// span writes a duration in days, or in hours when it is short.
func span(d time.Duration) string {
	if d < 2*aDay {
		return fmt.Sprintf("%d hours", d.Round(time.Hour)/time.Hour)
	}
	return fmt.Sprintf("%d days", d.Round(aDay)/aDay)
}
