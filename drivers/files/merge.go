// SPDX-License-Identifier: Apache-2.0

package files

import (
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// Bounds of the merged items of one file.
const (
	maxItems = 10_000
	maxHosts = 200 // names that are added up for a key of known_hosts
)

// A heldAs tells the items of a file that make one sighting.
type heldAs struct {
	id   tallystick.Fingerprint
	role tallystick.Role
}

// A merger makes one item of all those with the same credential and role,
// because a place has one sighting of them, and a copy that is protected must
// not hide one that is not.
type merger struct {
	index   map[heldAs]int
	items   []parse.Item
	settled map[int]bool // lines further down cannot apply any more
	dropped bool
}

// merged merges the items of a file to the worst of them.
func merged(found parse.Result) parse.Result {
	m := merger{index: map[heldAs]int{}, settled: map[int]bool{}}
	for _, item := range found.Items {
		m.add(item)
	}
	found.Items = m.items
	if m.dropped {
		found.Problems = append(slices.Clip(found.Problems), parse.Problem{Word: "too-many", Detail: "more credentials than are kept of one file"})
	}
	return found
}

func (m *merger) add(item parse.Item) {
	key := heldAs{item.Credential.ID, item.Role}
	i, known := m.index[key]
	if !known && len(m.items) == maxItems {
		m.dropped = true
		return
	}
	if !known {
		i = len(m.items)
		m.index[key] = i
		m.items = append(m.items, item)
		m.settled[i] = !isConditional(item.SSH)
		return
	}
	m.protect(&m.items[i], item)
	if item.SSH == nil || m.items[i].SSH == nil {
		return
	}
	if item.Format == "authorized_keys" {
		m.addLine(i, item.SSH)
	}
	m.addHosts(i, item.SSH)
}

// protect keeps what the least protected copy says: a key needs no passphrase
// when one copy needs none.
func (m *merger) protect(kept *parse.Item, item parse.Item) {
	if kept.Passphrase && !item.Passphrase {
		kept.Format, kept.Alias, kept.Passphrase = item.Format, item.Alias, false
	}
	kept.Private = kept.Private || item.Private
	kept.WeakPassphrase = kept.WeakPassphrase || item.WeakPassphrase
}

// addLine merges a further authorized_keys line of one key. sshd takes the
// first line that matches the key and whose conditions hold
// (auth2-pubkeyfile.c): a line behind one without conditions is never reached,
// so that the first holds; behind a conditional line the next is as good as the
// first for whoever does not meet the conditions, so that of these the one with
// the fewest restrictions is kept. A line for a CA and one for the key itself
// match different things, and both hold.
func (m *merger) addLine(i int, line *tallystick.SSHFacts) {
	kept := m.items[i].SSH
	sameUse := kept.CertAuth == line.CertAuth
	if m.settled[i] && sameUse {
		return
	}
	merged := *kept
	if restrictions(line) < restrictions(kept) {
		merged = *line
	}
	merged.CertAuth = kept.CertAuth || line.CertAuth
	m.items[i].SSH = &merged
	m.settled[i] = sameUse && !isConditional(line)
}

// isConditional says whether sshd goes on to the next line when the conditions
// of this one are not met (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
func isConditional(line *tallystick.SSHFacts) bool {
	return line != nil && slices.ContainsFunc(line.Options, func(option string) bool {
		name := optionName(option)
		return name == "from" || name == "expiry-time" || name == "principals"
	})
}

// restrictions counts the options that take something away, those that say who
// may come and what may be done at all before those that take a feature.
func restrictions(line *tallystick.SSHFacts) int {
	count := 0
	for _, option := range line.Options {
		switch name := optionName(option); {
		case name == "from", name == "command", name == "restrict":
			count += 100
		case strings.HasPrefix(name, "no-"), strings.HasPrefix(name, "permit"), name == "expiry-time", name == "principals":
			count++
		}
	}
	return count
}

func optionName(option string) string {
	name, _, _ := strings.Cut(option, "=")
	return strings.ToLower(strings.TrimSpace(name))
}

// addHosts adds the names of a known_hosts line to those of the lines before.
func (m *merger) addHosts(i int, line *tallystick.SSHFacts) {
	if len(line.Hosts) == 0 || len(m.items[i].SSH.Hosts) >= maxHosts {
		return
	}
	kept := *m.items[i].SSH
	kept.Hosts = slices.Clone(kept.Hosts)
	for _, name := range line.Hosts {
		if len(kept.Hosts) < maxHosts && !slices.Contains(kept.Hosts, name) {
			kept.Hosts = append(kept.Hosts, name)
		}
	}
	kept.CertAuth = kept.CertAuth || line.CertAuth
	m.items[i].SSH = &kept
}
