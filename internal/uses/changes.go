// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"strings"
	"unicode"

	"github.com/tallystick/tallystick"
)

// A ChangeSink is what a Sink may be besides: it takes the changes of who gets in
// that stand in the same log. A *Change belongs to the reader: who keeps it
// beyond the call copies it with KeepChange.
type ChangeSink interface {
	Change(c *tallystick.Change)
}

// tell gives a change on to a sink that takes changes.
func tell(sink Sink, c *tallystick.Change) {
	to, ok := sink.(ChangeSink)
	if !ok || c.Target == "" {
		return
	}
	for _, text := range []*string{&c.TargetName, &c.Agent, &c.Operation, &c.Before, &c.After, &c.Detail} {
		*text = shown(*text)
	}
	c.Target = bounded(c.Target)
	to.Change(c)
}

// wantsChanges says whether it is worth looking for changes.
func wantsChanges(sink Sink) bool {
	_, ok := sink.(ChangeSink)
	return ok
}

// KeepChange returns a copy of c that shares no memory with the record that it was read from.
func KeepChange(c *tallystick.Change) tallystick.Change {
	k := *c
	for _, s := range []*string{
		&k.ID, &k.Source, &k.Actor, &k.ActorKind, &k.Address, &k.Agent, &k.Target, &k.TargetName,
		&k.Operation, &k.Correlation, &k.Before, &k.After, &k.Detail,
	} {
		*s = strings.Clone(*s)
	}
	for _, list := range []*[]string{&k.Accounts, &k.Credential, &k.Grants} {
		var kept []string
		for _, s := range *list {
			kept = append(kept, strings.Clone(s))
		}
		*list = kept
	}
	return k
}

// maxShown bounds a value of a change, in bytes: logs hold whole certificates.
const maxShown = 2000

func bounded(text string) string {
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "..."
	}
	return text
}

// shown makes one line of a value, of which pages and findings show a piece.
func shown(text string) string {
	return bounded(strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }), " "))
}

// addedAndRemoved compares two lists as sets.
func addedAndRemoved(before, after []string) (added, removed []string) {
	had, has := map[string]bool{}, map[string]bool{}
	for _, s := range before {
		had[s] = true
	}
	for _, s := range after {
		if !had[s] && !has[s] {
			added = append(added, s)
		}
		has[s] = true
	}
	for _, s := range before {
		if !has[s] && had[s] {
			removed = append(removed, s)
			had[s] = false
		}
	}
	return added, removed
}
