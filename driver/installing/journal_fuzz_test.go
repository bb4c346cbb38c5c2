// SPDX-License-Identifier: Apache-2.0

package installing

import (
	"bytes"
	"testing"
)

// Whatever stands in the place of a journal, it is read within its own bytes, or not at all.
func FuzzJournal(f *testing.F) {
	good, err := journal{Files: []saved{
		{Path: "/tls.crt", Written: []string{digest([]byte("new"))}, content: []byte("old\n")}, {Path: "/tls.key", Missing: true},
	}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{good, good[:len(good)-1], append(good, 'x'), []byte("{}"), nil, []byte(`{"files":[{"path":"/a","size":-1}]}` + "\n"), []byte(`{"files":[{"path":"/a","missing":true,"size":1}]}` + "\nx")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := readJournal(text)
		if err != nil {
			return
		}
		again, err := j.encode()
		if err != nil {
			t.Fatal(err)
		}
		read, err := readJournal(again)
		if err != nil || len(read.Files) != len(j.Files) {
			t.Fatalf("it is read again as another: %v", err)
		}
		for i, one := range j.Files {
			if read.Files[i].Path != one.Path || !bytes.Equal(read.Files[i].content, one.content) {
				t.Fatalf("%q is read again as %q", one.content, read.Files[i].content)
			}
		}
	})
}
