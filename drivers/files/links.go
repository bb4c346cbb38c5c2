// SPDX-License-Identifier: Apache-2.0

package files

import (
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Links counts the symbolic links that lead to each file, and remembers which
// files outside the targets have been read through one.
type links struct {
	mu      sync.Mutex
	counts  map[fileID]int      // guarded by mu
	outside map[fileID]struct{} // guarded by mu
}

// maxLinks bounds the memory of a tree that is full of links. Beyond it the
// counts of further files stay zero, and a file outside the targets may be
// reported again for each link, at the same place.
const maxLinks = 1 << 20

func newLinks() *links {
	return &links{counts: map[fileID]int{}, outside: map[fileID]struct{}{}}
}

// count counts a link in d if it leads to a regular file.
func (l *links) count(d *directory, name string) {
	st, err := follow(d, name)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if id := idOf(st); l.counts[id] > 0 || len(l.counts) < maxLinks {
		l.counts[id]++
	}
}

// to returns how many links lead to a file.
func (l *links) to(id fileID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[id]
}

// first says whether this is the first link that leads outside to the file.
func (l *links) first(id fileID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.outside[id]; ok {
		return false
	}
	if len(l.outside) < maxLinks {
		l.outside[id] = struct{}{}
	}
	return true
}

// follow returns what a link in d leads to, without mounting anything on the way.
func follow(d *directory, name string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, name, &st, unix.AT_NO_AUTOMOUNT)
	return &st, err
}

// readLink looks at one symbolic link in the second pass. Links to directories
// are not followed, and dangling ones are too common to be worth a word. A
// link to a file in the targets needs nothing: the walk comes by there. One to
// what is excluded is left alone, or else links would bring it back.
func (l *look) readLink(d *directory, name string) error {
	if classify(name) == never {
		return nil
	}
	path := join(d.path, name)
	st, err := follow(d, name)
	if err != nil {
		if word, _ := wordOf(err); word == "not-found" {
			return nil
		}
		return l.missed(path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil || l.covers(real) || l.leftOut(real) || !l.links.first(idOf(st)) {
		return nil // an error here is a change since the look a moment ago
	}
	parent, err := openTop(filepath.Dir(real))
	if err != nil {
		return l.missed(real, err)
	}
	defer parent.file.Close()
	if pseudoFileSystem(parent.fd) != "" {
		return nil
	}
	return l.readNamed(parent, filepath.Base(real), classify(name))
}
