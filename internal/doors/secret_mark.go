// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"crypto/sha1"
	"encoding/hex"
	"slices"
	"strings"
	"sync"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// markOf names a value by 24 bits of its SHA-1, as Dovecot logs what was tried
// (auth_verbose_passwords = sha1:6). Of a value that was made by chance they say nothing. A word that
// a person has thought of can be guessed, and they tell a good guess from 16 million others: so they
// are written down of a value that opens nothing any more, and never before. A longer digest would
// prove a guess, and a salted one could not be compared with what others log.
func markOf(value driver.Secret) string {
	sum := sha1.Sum([]byte(value.Reveal()))
	return "sha1:" + hex.EncodeToString(sum[:3])
}

// mailPrefix begins the names that uses have for accounts of mail servers.
const mailPrefix = "account:mail/"

// mailNames are what the books of mail servers may call an account: by its name, and of a DN by the
// value that its entry has of its own, such as the uid.
func mailNames(account string) []string {
	names := []string{mailPrefix + account}
	entry, _, _ := strings.Cut(account, ",")
	if _, value, is := strings.Cut(entry, "="); is && value != "" {
		names = append(names, mailPrefix+value)
	}
	return names
}

// named collects by which names a driver signs in to mail servers: its options may say that of an
// account in a directory it is the address.
type named struct {
	tell func(tallystick.Use) // may be nil

	mu   sync.Mutex
	list []string // guarded by mu
}

func (n *named) used(use tallystick.Use) {
	n.mu.Lock()
	for _, name := range use.Credential {
		if strings.HasPrefix(name, mailPrefix) {
			n.list = append(n.list, name)
		}
	}
	n.mu.Unlock()
	if n.tell != nil {
		n.tell(use)
	}
}

// all returns them, each once.
func (n *named) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, name := range n.list {
		n.list[i] = tallystick.NormalName(name)
	}
	slices.Sort(n.list)
	return slices.Compact(n.list)
}
