// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"encoding/binary"
	"hash/maphash"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick"
)

// names are the names of credentials in their normal form, in sets of those that
// any record showed together (a union-find forest: R. E. Tarjan, 1975).
type names struct {
	number map[string]uint32
	parent []uint32
}

// noName stands for a record that names no credential.
const noName = 0

func newNames() names { return names{number: map[string]uint32{}, parent: []uint32{noName}} }

// add returns the number of the first of the names. With join it makes one
// credential of all of them.
func (n *names) add(list []string, join bool) uint32 {
	first := uint32(noName)
	for _, name := range list {
		normal, ok := usable(name)
		if !ok {
			continue
		}
		number, ok := n.number[normal]
		if !ok {
			number = uint32(len(n.parent))
			n.number[strings.Clone(normal)] = number
			n.parent = append(n.parent, number)
		}
		if first == noName {
			first = number
		} else if join {
			n.parent[n.root(number)] = n.root(first)
		}
	}
	return first
}

// usable returns a name in its normal form, unless it has no value: a log that
// leaves out what it does not know writes that of every credential.
func usable(name string) (normal string, ok bool) {
	normal = tallystick.NormalName(name)
	_, value, kinded := strings.Cut(normal, ":")
	return normal, value != "" || !kinded && normal != ""
}

// root returns what stands for the whole set of a name.
func (n *names) root(name uint32) uint32 {
	for n.parent[name] != name {
		n.parent[name] = n.parent[n.parent[name]]
		name = n.parent[name]
	}
	return name
}

// A party is a relying party, as exactly as its record names it. A log may not
// say the port or the tenant, and then agrees with any.
type party struct {
	// keys are its name, its name without port or tenant, its kind, and
	// nothing: as numbers, equal when the texts are.
	keys [4]uint32
	// vague is the first of keys that says all that is known.
	vague uint8
}

type parties struct {
	number map[string]uint32 // of texts
	known  map[string]uint32 // of parties, by name as written
	list   []party
}

func newParties() parties {
	return parties{number: map[string]uint32{}, known: map[string]uint32{}}
}

// add returns the number of a party.
func (p *parties) add(name string) uint32 {
	if i, ok := p.known[name]; ok {
		return i
	}
	texts, vague := partyTexts(strings.ToLower(strings.TrimSpace(name)))
	party := party{vague: vague}
	for i, text := range texts {
		number, ok := p.number[text]
		if !ok {
			number = uint32(len(p.number))
			p.number[strings.Clone(text)] = number
		}
		party.keys[i] = number
	}
	p.list = append(p.list, party)
	p.known[strings.Clone(name)] = uint32(len(p.list) - 1)
	return uint32(len(p.list) - 1)
}

// partyTexts returns the name of a party in four degrees of exactness.
func partyTexts(name string) (texts [4]string, vague uint8) {
	kind, rest, _ := strings.Cut(name, ":")
	coarse := name
	switch {
	case name == "":
		vague = 3
	case rest == "":
		vague = 2
	case kind == "entra":
		tenant, resource, _ := strings.Cut(rest, "/")
		coarse = "entra:/" + resource
		if resource == "" {
			vague = 2
		} else if tenant == "" {
			vague = 1
		}
	default:
		coarse, vague = withoutPort(name)
	}
	return [4]string{name, coarse, kind + ":", ""}, vague
}

// A Party is the name of a relying party as the tally compares it.
type Party struct {
	texts [4]string
	vague uint8
}

// PartyOf reads a name. It is cheap where nothing but a record or two asks.
func PartyOf(name string) Party {
	texts, vague := partyTexts(strings.ToLower(strings.TrimSpace(name)))
	return Party{texts, vague}
}

// Name is the name in the form in which exact names are equal, and Kind is "imap:".
func (p Party) Name() string { return p.texts[0] }
func (p Party) Kind() string { return p.texts[2] }

// IsNamed says whether it says at least of what kind it is, IsExact whether nothing is left out.
func (p Party) IsNamed() bool { return p.vague < 3 }
func (p Party) IsExact() bool { return p.vague == 0 }

// Is says whether two names may be of one relying party: they are equal as far as the one that says
// less goes. That is what records of two sides match by.
func (p Party) Is(other Party) bool {
	return p.texts[0] == other.texts[0] || p.texts[max(p.vague, other.vague)] == other.texts[max(p.vague, other.vague)]
}

// withoutPort drops the port of "kind:host:port". A name that cannot have one
// is exact as it is.
func withoutPort(name string) (coarse string, vague uint8) {
	i := strings.LastIndexByte(name, ':')
	if _, err := strconv.ParseUint(name[i+1:], 10, 16); err == nil && i > strings.IndexByte(name, ':') {
		return name[:i], 0
	}
	switch kind, _, _ := strings.Cut(name, ":"); kind {
	case "https", "ldap", "ldaps", "smtp", "imap", "pop3", "ssh", "postgres", "kerberos", "mysql", "ftp":
		return name, 1
	}
	return name, 0
}

// A kind is what many records have in common.
type kind struct {
	name    uint32 // one of the names of its credential, or noName
	party   uint32
	source  uint32
	level   uint8
	outcome tallystick.Outcome
	// weak says that the record names the application and not the key, so that
	// a token may tell whose it is.
	weak bool
	hash uint64 // of its source, side and the rest of that, as texts: the same in every run
	utis bool   // a holder's record of this kind carries a token id
}

// call says whether it is the use of a token, and not of a key.
func (k *kind) call() bool { return int(k.level) == tallystick.LevelCall.Rank() }

// signature says whether it is a signature, whatever that was for.
func (k *kind) signature() bool { return int(k.level) == tallystick.LevelSignature.Rank() }

type kinds struct {
	number map[string]uint32
	list   []kind
}

func newKinds() kinds { return kinds{number: map[string]uint32{}} }

// kindKey appends what makes a kind to key, so that no two read the same.
func kindKey(key []byte, u *tallystick.Use) []byte {
	key = appendNames(key, u.Credential)
	for _, s := range [...]string{u.RelyingParty, u.Source, string(u.Side), string(u.Level), string(u.Outcome)} {
		key = appendText(key, s)
	}
	return key
}

// A class is what nearly all uses of a log have in common of their kinds, and its
// hash.
type class struct {
	source string
	side   tallystick.Side
	level  tallystick.Level
	result tallystick.Outcome
	hashed uint64
	named  uint64 // of the source and the side alone
}

// hash hashes what kindKey appends, with the tally's secret, in a fraction of the
// time. Nobody can make two kinds meet who does not know the secret; by chance
// any two of a million do once in 36 million tallies.
func (c *class) hash(seed maphash.Seed, u *tallystick.Use) uint64 {
	if c.hashed == 0 || c.level != u.Level || c.result != u.Outcome || c.side != u.Side || c.source != u.Source {
		*c = class{strings.Clone(u.Source), clone(u.Side), clone(u.Level), clone(u.Outcome), 1, 0}
		for _, s := range [...]string{c.source, string(c.side), string(c.level), string(c.result)} {
			c.hashed = mix(c.hashed^prime2, maphash.String(seed, s))
		}
		c.named = mix(maphash.String(seed, c.source)^prime1, maphash.String(seed, string(c.side)))
	}
	h := mix(c.hashed^prime1, maphash.String(seed, u.RelyingParty))
	for _, name := range u.Credential {
		h = mix(h^prime2, maphash.String(seed, name))
	}
	return max(h, 1)
}

func clone[T ~string](s T) T { return T(strings.Clone(string(s))) }

// appendText appends a text behind its length: it may have any bytes.
func appendText(key []byte, s string) []byte {
	return append(binary.AppendUvarint(key, uint64(len(s))), s...)
}

func appendNames(key []byte, names []string) []byte {
	key = binary.AppendUvarint(key, uint64(len(names)))
	for _, name := range names {
		key = appendText(key, name)
	}
	return key
}

// kindOf returns the number of a use's kind, and joins the names of its
// credential. A try that did not show the key can have named any.
func (t *Tally) kindOf(key []byte, u *tallystick.Use) uint32 {
	if i, ok := t.kinds.number[string(key)]; ok {
		return i
	}
	k := kind{
		name: t.names.add(u.Credential, u.Side == tallystick.SideHolder || u.Outcome != tallystick.OutcomeAttempt), party: t.parties.add(u.RelyingParty), level: uint8(u.Level.Rank()),
		outcome: clone(u.Outcome), weak: true, hash: add(0, key),
	}
	for _, name := range u.Credential {
		_, ok := usable(name)
		k.weak = k.weak && (!ok || strings.HasPrefix(name, "account:entra-app/"))
	}
	if u.Side == tallystick.SideHolder {
		k.source = t.books.number(u.Source)
	}
	t.kinds.list = append(t.kinds.list, k)
	t.kinds.number[string(key)] = uint32(len(t.kinds.list) - 1)
	return uint32(len(t.kinds.list) - 1)
}
