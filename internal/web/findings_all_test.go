// SPDX-License-Identifier: Apache-2.0

package web

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

func TestFolders(t *testing.T) {
	for name, row := range map[string]struct {
		places []tallystick.Place
		want   []store.Count
	}{
		"none":             {nil, nil},
		"one file":         {[]tallystick.Place{"file:///etc/a.pem", "file:///etc/a.pem"}, nil},
		"a directory":      {[]tallystick.Place{"file:///etc/ssl/a", "file:///etc/ssl/b/c", "file:///etc/ssl/b/d"}, []store.Count{{Name: "file:///etc/ssl/b", Count: 2}, {Name: "file:///etc/ssl/a", Count: 1}}},
		"apart":            {[]tallystick.Place{"file:///etc/a", "file:///usr/b", "tls://127.0.0.1:443"}, []store.Count{{Name: "file:///etc", Count: 1}, {Name: "file:///usr", Count: 1}, {Name: "tls://127.0.0.1:443", Count: 1}}},
		"above each other": {[]tallystick.Place{"file:///etc/a", "file:///etc/a/b"}, []store.Count{{Name: "file:///etc/a", Count: 1}, {Name: "file:///etc/a/b", Count: 1}}},
	} {
		if diff := cmp.Diff(row.want, foldersOf(row.places)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPlacesAreShortenedInTheMiddle(t *testing.T) {
	for place, want := range map[string]string{
		"file:///etc/a.pem": "file:///etc/a.pem",
		"file:///root/go/pkg/mod/example.org/testdata/server.pem": "file:///roo…stdata/server.pem",
	} {
		if got := shortPlace(place, 28+1); got != want && len([]rune(got)) != 29 {
			t.Errorf("%s becomes %s", place, got)
		}
	}
}
