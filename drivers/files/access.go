// SPDX-License-Identifier: Apache-2.0

package files

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A fileID tells a file from every other while it exists.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{dev: st.Dev, ino: st.Ino} }

// An audience is who can reach or read something beside root, as far as
// permission bits say. Access control lists are not looked at: with one, the
// group bits are the most that any of its entries may do.
type audience struct {
	kind audienceKind
	id   uint32 // of the user or group
}

type audienceKind int

const (
	nobody audienceKind = iota
	oneUser
	oneGroup
	everybody
)

// through narrows a to those who can also search the directory.
func (a audience) through(dir *unix.Stat_t) audience {
	return a.and(audienceOf(dir, unix.S_IXGRP, unix.S_IXOTH))
}

// audienceOf returns the widest set that the bits let in.
func audienceOf(st *unix.Stat_t, group, others uint32) audience {
	switch {
	case st.Mode&others != 0:
		return audience{kind: everybody}
	case st.Mode&group != 0:
		return audience{kind: oneGroup, id: st.Gid}
	case st.Uid != 0:
		return audience{kind: oneUser, id: st.Uid}
	}
	return audience{}
}

// and returns who is in both a and b. Who is in two groups cannot be told from
// the bits, so that of two groups the one nearer to the file stands for both;
// and a user is taken to be in any group, which says too much rather than too little.
func (a audience) and(b audience) audience {
	if a.kind == oneUser && b.kind == oneUser && a.id != b.id {
		return audience{}
	}
	if a.kind < b.kind {
		return a
	}
	return b
}

// audienceOfParents returns who can reach path through the directories above it.
func audienceOfParents(path string) audience {
	reach := audience{kind: everybody}
	if path == "/" {
		return reach
	}
	var above []string
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		above = append(above, dir)
		if dir == "/" {
			break
		}
	}
	for i := len(above) - 1; i >= 0; i-- {
		var st unix.Stat_t
		if unix.Stat(above[i], &st) == nil {
			reach = reach.through(&st)
		}
	}
	return reach
}

// readers says in words who beside its owner can read a file in a directory
// that reach can come to.
func (p *people) readers(st *unix.Stat_t, reach audience) []string {
	a := reach.and(audienceOf(st, unix.S_IRGRP, unix.S_IROTH))
	switch a.kind {
	case everybody:
		return []string{"everybody"}
	case oneGroup:
		if p.onlyMember(st.Uid, a.id) {
			return nil
		}
		return []string{"group:" + p.group(a.id)}
	case oneUser:
		if a.id != st.Uid {
			return []string{"user:" + p.user(a.id)}
		}
	}
	return nil
}
