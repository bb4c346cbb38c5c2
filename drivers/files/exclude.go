// SPDX-License-Identifier: Apache-2.0

package files

import (
	"path/filepath"
	"slices"
	"strings"
)

// defaultExclude returns what is excluded when nobody says otherwise. It keeps
// a walk out of copies; whoever names a target in there means it.
func defaultExclude() []string {
	for _, option := range Driver().Options() {
		if option.Name == "exclude" {
			return strings.Split(option.Default, ",")
		}
	}
	return nil
}

// allowedTarget finds out what is at an absolute path, unless it is excluded by
// that path or by the one that links lead to. Then it is not looked at, and the
// target has a path if links lead there from another.
func (l *look) allowedTarget(path string) (target, error) {
	byDefault := defaultExclude()
	own := slices.DeleteFunc(slices.Clone(l.options.Exclude), func(glob string) bool { return slices.Contains(byDefault, glob) })
	if matchesAbove(own, "", path) {
		return target{}, errExcluded
	}
	t, err := resolveTarget(path)
	if err == nil && matchesAbove(own, "", t.path) {
		err = errExcluded
	}
	return t, err
}

// leftOut says whether path or a directory above it is excluded.
func (l *look) leftOut(path string) bool { return matchesAbove(l.options.Exclude, "", path) }

// excludedBelow says whether path or a directory between root and path is excluded.
func (l *look) excludedBelow(root, path string) bool {
	return matchesAbove(l.options.Exclude, root, path)
}

// excluded says whether an exclude glob matches path itself.
func (l *look) excluded(path string) bool { return matches(l.options.Exclude, path) }

// matchesAbove says whether a glob matches path or a directory between root and path.
func matchesAbove(globs []string, root, path string) bool {
	for p := path; len(p) > len(root) && p != "/"; p = filepath.Dir(p) {
		if matches(globs, p) {
			return true
		}
	}
	return root == "" && matches(globs, "/")
}

// matches says whether a glob matches path itself.
func matches(globs []string, path string) bool {
	for _, glob := range globs {
		subject := path
		if !strings.HasPrefix(glob, "/") {
			subject = filepath.Base(path)
		}
		if ok, _ := filepath.Match(glob, subject); ok { // the pattern was checked by open
			return true
		}
	}
	return false
}
