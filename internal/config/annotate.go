// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
)

// Annotate returns what the rules of the configuration say about a credential
// that is at the given places. It is pure. Its cost grows with the length of
// the patterns times the length of what they are compared with, and no faster.
func (c *Config) Annotate(cred *tallystick.Credential, places []tallystick.Place) tallystick.Annotation {
	var a tallystick.Annotation
	for i := range c.Annotations {
		rule := &c.Annotations[i]
		if !rule.Match.matches(cred, places, a.Tags) {
			continue
		}
		a.Owner = first(a.Owner, rule.Owner)
		a.Environment = first(a.Environment, rule.Environment)
		a.Notes = first(a.Notes, rule.Notes)
		for _, tag := range rule.Tags {
			if !slices.Contains(a.Tags, tag) {
				a.Tags = append(a.Tags, tag)
			}
		}
	}
	return a
}

// first returns a unless it is empty.
func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// matches says whether every field that is set matches. tags are those that
// earlier rules gave.
func (m *Match) matches(cred *tallystick.Credential, places []tallystick.Place, tags []string) bool {
	return (m.Kind == "" || m.Kind == string(cred.Kind)) &&
		(m.Tag == "" || slices.Contains(tags, m.Tag)) &&
		(m.Algorithm == "" || matchFold(m.Algorithm, cred.Key.Algorithm, '-')) &&
		(m.Subject == "" || matchFold(m.Subject, cred.Subject, ',')) &&
		(m.Issuer == "" || matchFold(m.Issuer, cred.Issuer, ',')) &&
		(m.Name == "" || slices.ContainsFunc(cred.Names, func(name string) bool { return matchFold(m.Name, name, '.') })) &&
		(m.Place == "" || slices.ContainsFunc(places, func(p tallystick.Place) bool { return match(m.Place, string(p), '/') }))
}

// matchFold is match without regard to the case of the pattern and the text.
func matchFold(pattern, text string, divider byte) bool {
	return match(strings.ToLower(pattern), strings.ToLower(text), divider)
}

// maxPattern is the length of the longest pattern, in bytes.
const maxPattern = 512

// match says whether the pattern stands for the whole text: * for any bytes but
// the divider, ** for any bytes, and every other byte for itself. It walks
// through the text once with the set of positions in the pattern that could be
// reached so far, so that no pattern takes long.
func match(pattern, text string, divider byte) bool {
	star := strings.IndexByte(pattern, '*')
	if star < 0 {
		return pattern == text
	}
	// Most patterns that do not match are told by their ends.
	end := pattern[strings.LastIndexByte(pattern, '*')+1:]
	if !strings.HasPrefix(text, pattern[:star]) || !strings.HasSuffix(text, end) || len(pattern) > maxPattern {
		return false
	}
	pattern, text = pattern[star:], text[star:]
	var sets [2][maxPattern + 1]bool
	now, next := sets[0][:len(pattern)+1], sets[1][:len(pattern)+1]
	reach(now, pattern, 0)
	for i := range len(text) {
		for at := range len(pattern) {
			if !now[at] {
				continue
			}
			switch stars(pattern[at:]) {
			case 2:
				reach(next, pattern, at)
			case 1:
				if text[i] != divider {
					reach(next, pattern, at)
				}
			default:
				if text[i] == pattern[at] {
					reach(next, pattern, at+1)
				}
			}
		}
		now, next = next, now
		clear(next)
	}
	return now[len(pattern)]
}

// stars returns how many stars a pattern begins with, at most two.
func stars(pattern string) int {
	switch {
	case strings.HasPrefix(pattern, "**"):
		return 2
	case strings.HasPrefix(pattern, "*"):
		return 1
	}
	return 0
}

// reach adds a position to the set, and those behind stars, which may stand
// for nothing.
func reach(set []bool, pattern string, at int) {
	set[at] = true
	for n := stars(pattern[at:]); n > 0; n = stars(pattern[at:]) {
		at += n
		set[at] = true
	}
}
