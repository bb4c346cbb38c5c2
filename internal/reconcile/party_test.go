// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/tally"
)

// A program that calls a server by its address sends no server name, so that the
// log of the server cannot say where it was called.
func TestACallOfAnAddressIsNoForeignUse(t *testing.T) {
	const print = "1949413edcbdebde7abadfbcafbe6ab48d15c218"
	for format, record := range map[string]string{
		"nginx":   `{"ts":"2026-11-22T04:56:36+00:00","remote":"127.0.0.1:44616","status":200,"verify":"SUCCESS","sdn":"CN=a","fp_sha1":"` + print + `","sni":"","port":"18744"}`,
		"haproxy": `{"ts":"22/Nov/2026:04:56:36 +0000","client":"127.0.0.1:58052","status":200,"used":1,"verify":0,"sha1":"` + print + `","sha256":"ab8e9eb4c18fb15791562b8385b7642e834f60f5c907b2351977f3c41dc80d32","sni":"-","port":"18744"}`,
	} {
		dir := t.TempDir()
		book := `{"v":1,"source":"b","time":"2026-11-22T04:56:36Z","credential":"x5t:` + print + `","relying_party":"https:127.0.0.1:18744","outcome":"success"}`
		inputs := []Input{
			{Path: filepath.Join(dir, "log"), Side: tallystick.SideRelying, Format: format},
			{Path: filepath.Join(dir, "book"), Side: tallystick.SideHolder},
		}
		for i, text := range []string{record, book} {
			if err := os.WriteFile(inputs[i].Path, []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		files, err := Run(t.Context(), tally.Options{CloseAtEnd: true}, inputs, nil, start)
		if err != nil {
			t.Fatal(err)
		}
		if s := files.Result.Summary; s.Matched != 1 || s.Foreign != 0 {
			t.Errorf("%s: %+v", format, s)
		}
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	}
}
