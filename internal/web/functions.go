// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"html/template"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// functions are what templates call.
func (s *Site) functions() template.FuncMap {
	return template.FuncMap{
		"asset":      func(name string) string { return s.assets.byName[name].url },
		"clip":       clip,
		"groups":     groups,
		"number":     number,
		"plural":     plural,
		"when":       func(t time.Time) moment { return momentOf(s.Now(), t) },
		"life":       func(begin, end time.Time) life { return lifeOf(s.Now(), begin, end) },
		"severities": severities,
		"nameOf":     func(r store.CredentialRow) string { return nameOf(r.Subject, r.Names, r.Kind, r.ID) },
		"nameIn": func(subject string, kind tallystick.Kind, id tallystick.Fingerprint) string {
			return nameOf(subject, nil, kind, id)
		},
		"issuerName": func(issuer string) string { return clip(maxName, cmp.Or(commonName(issuer), issuer)) },
		"facts":      factsOf,
		"place":      func(limit int, p tallystick.Place) string { return shortPlace(string(p), limit) },
		"usedName":   usedName,
		"int64":      func(n int) int64 { return int64(n) },
		"verdicts":   verdicts,
		"few":        func(words []string) []string { return head(10, words) },
	}
}

// verdicts are all, the loudest first.
func verdicts() []tallystick.Verdict {
	return []tallystick.Verdict{
		tallystick.VerdictForeign, tallystick.VerdictUnconfirmed, tallystick.VerdictPending, tallystick.VerdictAttempt, tallystick.VerdictMatched,
	}
}

// usedName returns what people call a credential that was used: what the
// inventory calls it, or the name that its uses have for it.
func usedName(c usage.Credential) string {
	if c.Fingerprint != "" && (c.Subject != "" || c.Kind != tallystick.KindNamed) || len(c.Names) == 0 {
		return nameOf(c.Subject, nil, c.Kind, c.Fingerprint)
	}
	return shortPlace(c.Names[0], 64)
}

// severities are all, the worst first.
func severities() []tallystick.Severity {
	return []tallystick.Severity{
		tallystick.SeverityCritical, tallystick.SeverityHigh, tallystick.SeverityMedium, tallystick.SeverityLow, tallystick.SeverityInfo,
	}
}
