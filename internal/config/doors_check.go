// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
)

// Bounds of what is set about doors and recalls.
const (
	maxWord        = 200 // bytes of an owner, a holder, the name of a relying party
	maxHostTimeout = 5 * time.Minute
	maxApprovals   = 5
	maxCanary      = 1000
	maxGrowth      = 100
	thousand       = 1000
)

// What is not in the file.
const (
	defaultQuiet      = time.Hour
	defaultCanary     = 1
	defaultGrowth     = 4
	defaultApprovals  = 1
	defaultAtDeadline = tallystick.AtDeadlineBlock
)

// checkRecalls notes what makes no sense about doors, hosts, recalls and agents.
func (c *Config) checkRecalls(d *decoder) {
	checkDoors(d, c.Hosts, c.Doors)
	c.Recall.check(d)
	if c.Agents.Listen != "" && !isAddress(c.Agents.Listen) {
		d.wrong("agents.listen", "it is an address and a port, such as 0.0.0.0:8445")
	}
	if c.Agents.Address != "" && !isAddress(c.Agents.Address) {
		d.wrong("agents.address", "it is a name or an address, and a port, such as tally.example.com:8445")
	}
	if c.Agents.Address != "" && c.Agents.Listen == "" {
		d.wrong("agents.address", "set listen as well, or nobody answers there")
	}
}

// checkDoors notes what makes no sense about doors and the hosts that they are on.
func checkDoors(d *decoder, hosts []Host, doors []Door) {
	n := newNames()
	for i, host := range hosts {
		path := fmt.Sprintf("hosts[%d]", i)
		n.check(d, path+".name", "host", host.Name)
		host.check(d, path)
	}
	known := make([]string, 0, len(hosts))
	for _, host := range hosts {
		known = append(known, host.Name)
	}
	n = newNames()
	for i, door := range doors {
		path := fmt.Sprintf("doors[%d]", i)
		n.check(d, path+".name", "door", door.Name)
		if door.Host != "" && !slices.Contains(known, door.Host) {
			d.wrong(path+".host", "there is no such host%s", suggestOr(door.Host, known, ": add it to hosts"))
		}
		door.check(d, path)
	}
}

// suggestOr is suggest, where there may be no known word.
func suggestOr(word string, known []string, otherwise string) string {
	if len(known) == 0 {
		return otherwise
	}
	return suggest(word, known)
}

func (h Host) check(d *decoder, path string) {
	switch {
	case h.Address == "" || strings.ContainsAny(h.Address, " /@"):
		d.wrong(path+".address", "it is a name or an address, and a port if that is not 22, such as db1.example.com:2222")
	case strings.Contains(h.Address, ":") && net.ParseIP(h.Address) == nil && !isAddress(h.Address):
		d.wrong(path+".address", "it is a name or an address, and a port if that is not 22, such as db1.example.com:2222")
	}
	if h.User == "" {
		d.wrong(path+".user", "it says as whom to sign in")
	}
	if h.KeyFile == "" {
		d.wrong(path+".key_file", "it names a file with the private key to sign in with")
	}
	if len(h.HostKeys) == 0 {
		d.wrong(path+".host_keys", "without the keys of the machine nobody knows whom we talk to: `ssh-keyscan` shows them")
	}
	for i, key := range h.HostKeys {
		if _, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(key)); err != nil || len(rest) > 0 {
			d.wrong(fmt.Sprintf("%s.host_keys[%d]", path, i), "it is a public key such as ssh-ed25519 AAAA..., without a host before it")
		}
	}
	if h.Timeout != 0 && (h.Timeout < time.Second || h.Timeout > maxHostTimeout) {
		d.wrong(path+".timeout", "it is between 1s and 5m")
	}
}

func (door Door) check(d *decoder, path string) {
	if door.Driver == "" {
		d.wrong(path+".driver", "it says which driver works there")
	}
	for _, word := range []struct{ key, text string }{{"owner", door.Owner}, {"customer", door.Customer}, {"holder", door.Holder}} {
		if len(word.text) > maxWord {
			d.wrong(path+"."+word.key, "it has at most %d bytes", maxWord)
		}
	}
	for i, name := range door.RelyingParties {
		if kind, rest, ok := strings.Cut(name, ":"); !ok || kind == "" || rest == "" || len(name) > maxWord {
			d.wrong(fmt.Sprintf("%s.relying_parties[%d]", path, i), "it is a kind and a name, such as ldap:dir.example.com:636")
		}
	}
	for i, name := range door.Systems {
		if name == "" || len(name) > maxWord {
			d.wrong(fmt.Sprintf("%s.systems[%d]", path, i), "it is a system as entrusted secrets name it, of at most %d bytes", maxWord)
		}
	}
	for i, name := range door.Holders {
		if name == "" || len(name) > maxWord {
			d.wrong(fmt.Sprintf("%s.holders[%d]", path, i), "it is the holder of other doors, of at most %d bytes", maxWord)
		}
	}
	if key := door.Issue.Key; key != "" && (!slices.Contains(keyKinds(), key) || key == "ecdsa-p521") {
		d.wrong(path+".issue.key", "there is no such sort of key%s", suggest(key, keyKinds()))
	}
	if l := door.Issue.Lifetime; l < 0 || l > 0 && l < time.Minute {
		d.wrong(path+".issue.lifetime", "it is at least 1m")
	}
}

func (r Recall) check(d *decoder) {
	if r.Quiet < 0 {
		d.wrong("recall.quiet", "it is 0s or more")
	}
	for _, number := range []struct {
		key               string
		value, least, max int
	}{
		{"canary", r.Canary, 1, maxCanary}, {"growth", r.Growth, 1, maxGrowth},
		{"errors", r.Errors, 0, thousand}, {"approvals", r.Approvals, 0, maxApprovals},
	} {
		if _, set := d.at["recall."+number.key]; set && (number.value < number.least || number.value > number.max) {
			d.wrong("recall."+number.key, "it is between %d and %d", number.least, number.max)
		}
	}
	checkConnect(d, "recall.connect", r.Connect)
	if r.AtDeadline != "" && r.AtDeadline != tallystick.AtDeadlineBlock && r.AtDeadline != tallystick.AtDeadlineHold {
		d.wrong("recall.at_deadline", "it is %s or %s", tallystick.AtDeadlineBlock, tallystick.AtDeadlineHold)
	}
}

// fill sets what is not set to its default. isSet says what is in the file: no approvals
// and no quiet time are something that people may want and must say.
func (r *Recall) fill(isSet func(path string) bool) {
	if r.Quiet == 0 && !isSet("recall.quiet") {
		r.Quiet = defaultQuiet
	}
	if r.Canary == 0 {
		r.Canary = defaultCanary
	}
	if r.Growth == 0 {
		r.Growth = defaultGrowth
	}
	if r.Approvals == 0 && !isSet("recall.approvals") {
		r.Approvals = defaultApprovals
	}
	if r.AtDeadline == "" {
		r.AtDeadline = defaultAtDeadline
	}
}

// isSet says whether something stands at a path of the file.
func (c *Config) isSet(path string) bool { return c.file != nil && c.file.at[path] != nil }
