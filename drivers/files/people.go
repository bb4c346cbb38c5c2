// SPDX-License-Identifier: Apache-2.0

package files

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// People are the accounts and groups of this machine's own files. Accounts of
// a directory service are not known and show by their number.
type people struct {
	users   map[uint32]account
	groups  map[uint32]group
	byHome  map[string]string // home directory to name
	primary map[uint32]int    // how many accounts have the group as their own
}

type account struct {
	name string
	gid  uint32
}

type group struct {
	name    string
	members []string
}

// maxAccounts bounds what is read of passwd and group.
const maxAccounts = 4 << 20

func readPeople() *people {
	passwd, _ := readSmall("/etc/passwd", maxAccounts) // without it, numbers are shown
	groups, _ := readSmall("/etc/group", maxAccounts)
	return newPeople(string(passwd), string(groups))
}

// newPeople reads the texts of passwd(5) and group(5). Of two lines with one
// number the first holds, as in getpwuid(3).
func newPeople(passwd, groups string) *people {
	p := &people{
		users: map[uint32]account{}, groups: map[uint32]group{},
		byHome: map[string]string{}, primary: map[uint32]int{},
	}
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 7 {
			continue
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		if _, ok := p.users[uint32(uid)]; !ok {
			p.users[uint32(uid)] = account{f[0], uint32(gid)}
		}
		if _, ok := p.byHome[f[5]]; !ok {
			p.byHome[f[5]] = f[0]
		}
		p.primary[uint32(gid)]++
	}
	for line := range strings.Lines(groups) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 {
			continue
		}
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if _, ok := p.groups[uint32(gid)]; err != nil || ok {
			continue
		}
		p.groups[uint32(gid)] = group{f[0], strings.FieldsFunc(f[3], func(r rune) bool { return r == ',' })}
	}
	return p
}

func (p *people) user(uid uint32) string {
	if a, ok := p.users[uid]; ok {
		return a.name
	}
	return "uid:" + strconv.FormatUint(uint64(uid), 10)
}

func (p *people) group(gid uint32) string {
	if g, ok := p.groups[gid]; ok {
		return g.name
	}
	return "gid:" + strconv.FormatUint(uint64(gid), 10)
}

// onlyMember says whether gid is the user's own group and nobody else is in it,
// so that what the group may do adds nobody. Debian gives each account such a group.
func (p *people) onlyMember(uid, gid uint32) bool {
	u, ok := p.users[uid]
	g, known := p.groups[gid]
	return ok && known && u.gid == gid && p.primary[gid] == 1 &&
		!slices.ContainsFunc(g.members, func(name string) bool { return name != u.name })
}

// account names the account that an authorized_keys file opens: the one whose
// home directory holds it, by this machine's accounts, by the shape of the
// path (of a chroot or an image), or else the owner of the file. sshd also
// reads files that are named after the account (AuthorizedKeysFile with %u).
func (p *people) account(path string, st *unix.Stat_t) string {
	dir := filepath.Dir(path)
	if filepath.Base(dir) != ".ssh" {
		if strings.HasPrefix(filepath.Base(dir), "authorized_keys") {
			return filepath.Base(path)
		}
		return p.user(st.Uid)
	}
	home := filepath.Dir(dir)
	if name, ok := p.byHome[home]; ok {
		return name
	}
	if base := filepath.Base(home); base == "root" || filepath.Base(filepath.Dir(home)) == "home" {
		return base
	}
	var owner unix.Stat_t
	if unix.Stat(home, &owner) == nil {
		return p.user(owner.Uid)
	}
	return p.user(st.Uid)
}

// readSmall reads up to limit bytes of a file that the operator's own machine
// or options name.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, limit)
}
