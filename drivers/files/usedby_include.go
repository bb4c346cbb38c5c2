// SPDX-License-Identifier: Apache-2.0

package files

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// included marks a reference to further configuration. Its path may have a
// pattern for a last element.
const included = "included"

// Includes are followed through files that may belong to anybody, and a name
// costs an attacker nothing, so that only so many are followed in all.
const (
	maxDirectives   = 4096
	maxIncluded     = 1024
	maxIncludedSize = 256 << 10
)

// addAll remembers what a configuration names, and what the files name that it
// includes. It says false when there is no room.
func (u *usages) addAll(s *service, c config) bool {
	room := true
	queue := []config{c}
	for len(queue) > 0 {
		c, queue = queue[0], queue[1:]
		if c.text == "" {
			text, err := readConfig(unix.AT_FDCWD, c.path, maxIncludedSize)
			if err != nil {
				continue // a miss where it lies
			}
			c.text = string(text)
		}
		home := c.home(s.dirs...)
		for _, r := range s.read(c) {
			if r.as != included {
				room = room && u.add(s.name, c, r)
				continue
			}
			for _, path := range u.includes(c, r, home) {
				queue = append(queue, config{path: path, from: home})
			}
		}
	}
	return room
}

// includes returns the files that a directive stands for and that have not
// been included from the same home.
func (u *usages) includes(c config, r reference, home string) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, pattern := range c.places(r) {
		if u.directives++; u.directives > maxDirectives {
			return nil
		}
		paths := expand(pattern)
		if len(paths) == 0 {
			continue
		}
		return slices.DeleteFunc(paths, func(path string) bool {
			key := [2]string{path, home}
			if u.included[key] || len(u.included) >= maxIncluded {
				return true
			}
			u.included[key] = true
			return false
		})
	}
	return nil
}

// expand returns the files that match a pattern. Patterns in the names of
// directories are not expanded: "/*/*/*" would have the whole machine read.
func expand(pattern string) []string {
	dir, last := filepath.Split(pattern)
	if strings.ContainsAny(dir, "*?[") {
		return nil
	}
	if !strings.ContainsAny(last, "*?[") {
		if unix.Access(pattern, unix.F_OK) != nil {
			return nil
		}
		return []string{pattern}
	}
	d, err := os.OpenFile(dir, unix.O_DIRECTORY|os.O_RDONLY, 0)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(4 * maxIncluded) // what was read before an error is good
	var paths []string
	for _, name := range names {
		if ok, err := filepath.Match(last, name); ok && err == nil && len(paths) < maxIncluded {
			paths = append(paths, dir+name)
		}
	}
	return paths
}
