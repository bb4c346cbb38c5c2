// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/vault"
)

// FuzzImport reads files that anybody may have written: nothing but ErrInvalid comes of
// a bad one, and what is read of a good one has somewhere to be cleaned.
func FuzzImport(f *testing.F) {
	for _, seed := range []struct{ format, text string }{
		{vault.FormatCSV, "account,value\na,b\n"},
		{vault.FormatCSV, "customer,account,kind,value_base64,max_age\nacme,\"a\nb\",other,AAEC,90d\n"},
		{vault.FormatEnv, "export A='b'\\\n\"c\"\n# d\nE = f\r\n"},
		{vault.FormatKubernetes, "kind: Secret\nmetadata: {name: a}\nstringData:\n  b: |\n    c\n---\nkind: List\nitems: [{kind: Secret, data: {a: YQ==}}]\n"},
		{vault.FormatKubernetes, "kind: Secret\ndata: &a {b: *a}\n? - - -\n"},
		{vault.FormatKV, `{"data":{"data":{"a":"b","c":{"d":1}},"metadata":{}}}`},
	} {
		f.Add(seed.format, seed.text)
	}
	f.Fuzz(func(t *testing.T, format, text string) {
		if format != vault.FormatCSV && format != vault.FormatEnv && format != vault.FormatKubernetes {
			format = vault.FormatKV
		}
		list, err := vault.Read(format, []byte(text), like)
		if err != nil && !errors.Is(err, tallystick.ErrInvalid) {
			t.Fatal(err)
		}
		for _, e := range list {
			if !strings.HasPrefix(e.Origin, format+":old") {
				t.Fatalf("%q", e.Origin)
			}
		}
	})
}
