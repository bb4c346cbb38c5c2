// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"cmp"
	"strings"
	"time"
	"unicode"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// FormatSources returns what the uses of a format of package uses are events of.
func FormatSources(format string) []LogSource {
	return append([]LogSource{{Product: "tallystick", Service: "uses"}}, sourcesOfFormat(format)...)
}

// AsRule returns the rule as findings and lists of rules show it. What it finds is
// found by a Set: its Use finds nothing by itself.
func (r *Rule) AsRule() rule.Rule {
	effective, err := time.Parse(time.DateOnly, r.Date)
	if err != nil {
		effective = time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC) // Sigma's first year
	}
	url := "https://sigmahq.io/docs/basics/rules.html"
	for _, reference := range r.References {
		if strings.HasPrefix(reference, "https://") {
			url = reference
			break
		}
	}
	return rule.Rule{
		Name: r.RuleName(), Title: oneLine(r.Label()), About: oneLine(cmp.Or(r.Description, r.Label())), Severity: r.severity(),
		Citation: "Sigma rule " + cmp.Or(r.ID, oneLine(r.Label())), URL: url, Effective: effective,
		Do:  "Look at the uses that it names; what is expected here can be accepted, or filtered in the rule.",
		Use: func(rule.UseSubject) []rule.Hit { return nil },
	}
}

// RuleName returns a name that no other kind of rule has.
func (r *Rule) RuleName() string {
	var name strings.Builder
	name.WriteString("sigma")
	dash := true
	for _, c := range strings.ToLower(r.Label()) {
		switch {
		case c < unicode.MaxASCII && (unicode.IsLetter(c) || unicode.IsDigit(c)):
			if dash {
				name.WriteByte('-')
			}
			dash = false
			name.WriteRune(c)
		default:
			dash = true
		}
		if name.Len() > 80 {
			break
		}
	}
	if id, _, _ := strings.Cut(strings.ToLower(r.ID), "-"); id != "" {
		name.WriteString("-" + id)
	}
	return name.String()
}

func (r *Rule) severity() tallystick.Severity {
	switch r.Level {
	case "informational":
		return tallystick.SeverityInfo
	case "low":
		return tallystick.SeverityLow
	case "high":
		return tallystick.SeverityHigh
	case "critical":
		return tallystick.SeverityCritical
	}
	return tallystick.SeverityMedium
}

// oneLine makes a short line of text that a stranger wrote.
func oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) || c == '|' }), " ")
	const most = 400
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
