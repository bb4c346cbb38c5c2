// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

var like = vault.Entrust{Name: vault.Name{Customer: "acme", System: "app", Kind: vault.Password}, Holder: "token:7"}

// file writes a file that secrets are brought from.
func file(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "old")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// imported brings in a source, and returns the values by account.
func (f *fixture) imported(s vault.Source) map[string]string {
	f.Helper()
	if _, err := f.Import(f.Context(), otto, s); err != nil {
		f.Fatal(err)
	}
	page, _, err := f.List(f.Context(), otto, store.EntrustedFilter{}, store.PageRequest{Limit: 1000})
	f.must(err)
	values := map[string]string{}
	for _, one := range page.Items {
		value, _, err := f.Reveal(f.Context(), mailer, one.ID, 0)
		f.must(err)
		values[one.Customer+"/"+one.System+"/"+one.Account+" "+one.Kind] = value.Reveal()
	}
	return values
}

func TestImportEnv(t *testing.T) {
	f := newVault(t, "")
	path := file(t, `# a comment
; and another
LOG=debug
export PASSWORD='single $quoted \n' 
  KEY="double \"quoted\" \$1 \n" # is a part of it
MANY="line one
line two"
PLAIN = with spaces  
JOINED=one\
two
EMPTY=
PASSWORD2=a'b'"c"d
LOG=info
LAST=no end of line`)
	want := map[string]string{
		"acme/app/LOG password": "info", "acme/app/PASSWORD password": `single $quoted \n`, "acme/app/KEY password": `double "quoted" $1 \n # is a part of it`,
		"acme/app/MANY password": "line one\nline two", "acme/app/PLAIN password": "with spaces", "acme/app/JOINED password": "onetwo",
		"acme/app/PASSWORD2 password": "abcd", "acme/app/LAST password": "no end of line",
	}
	if diff := cmp.Diff(want, f.imported(vault.Source{Format: vault.FormatEnv, Path: path, Like: like})); diff != "" {
		t.Error(diff)
	}
}

func TestImportCSV(t *testing.T) {
	f := newVault(t, "")
	path := file(t, "\ufeffcustomer,system,account,kind,value,value_base64,max_age,holder\r\n"+
		"initech,ldap,a,api-key,\"one,\nand more\",,90d,\n,,b,,,AAEC/w==,12h,token:7\n")
	want := map[string]string{"initech/ldap/a api-key": "one,\nand more", "acme/app/b password": "\x00\x01\x02\xff"}
	if diff := cmp.Diff(want, f.imported(vault.Source{Format: vault.FormatCSV, Path: path, Like: like})); diff != "" {
		t.Error(diff)
	}
}

func TestACSVRowWithoutAValueIsToldAndNothingIsTakenIn(t *testing.T) {
	f := newVault(t, "")
	path := file(t, "account,value\na,one\nb,\n")
	_, err := f.Import(t.Context(), otto, vault.Source{Format: vault.FormatCSV, Path: path, Like: vault.Entrust{Name: vault.Name{Customer: "acme", System: "ldap", Kind: vault.Password}}})
	if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "line 3 has no value") {
		t.Error(err)
	}
	if sums, err := f.Sums(t.Context(), otto); err != nil || sums.Secrets != 0 {
		t.Errorf("%d were taken in, %v", sums.Secrets, err)
	}
}

// A cell that cannot be used is named by its line and its column, and never quoted: passwords get into
// wrong columns.
func TestACellThatCannotBeUsed(t *testing.T) {
	f := newVault(t, "")
	long := strings.Repeat("hunter-2", 300)
	for want, text := range map[string]string{
		"line 3, column max_age: ":      "account,value,max_age\na,x,30d\nb,x,hunter-2\n",
		"line 2, column kind: ":         "account,kind,value\na,hunter-2,x\n",
		"line 2, column holder: ":       "account,holder,value\na,hunter-2,x\n",
		"line 4, column value_base64: ": "account,opens,value_base64\na,x,aHVudGVyLTI=\nb,,aHVudGVyLTI=\nc,,hunter-2\n",
		"line 2, column system: ":       "account,system,value\na,\" hunter-2\",x\n",
		"line 2, column opens: ":        "account,opens,value\na," + long + ",x\n",
		"line 2, column value: ":        "account,value\na,hunter-2" + strings.Repeat("x", vault.MaxValue) + "\n",
		"line 3: ":                      "account,value\na,x\n,hunter-2\n",
		"line 3, column customer: ":     "account,value,customer\n\"a\",\"hunter\n-2\",hunter\x01\n",
	} {
		_, err := f.Import(t.Context(), otto, vault.Source{Format: vault.FormatCSV, Path: file(t, text), Like: like})
		if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %.200s", want, err)
		}
	}
	if page, _, err := f.List(t.Context(), otto, store.EntrustedFilter{}, store.PageRequest{}); err != nil || len(page.Items) > 0 {
		t.Error("something came in:", page.Items, err)
	}
}

func TestImportKubernetes(t *testing.T) {
	f := newVault(t, "")
	path := file(t, `apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {LOG: debug}
---
apiVersion: v1
kind: Secret
metadata:
  name: smtp
  namespace: mail
data:
  password: c2VjcmV0
  both: b2xk
stringData:
  both: new
  text: |
    two
    lines
---
{"apiVersion": "v1", "kind": "List", "items": [{"kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "tls"}, "data": {"tls.key": "S0VZ"}}]}
`)
	want := map[string]string{
		"acme/app/mail/smtp/password password": "secret", "acme/app/mail/smtp/both password": "new", "acme/app/mail/smtp/text password": "two\nlines\n",
		"acme/app/default/tls/tls.key certificate": "KEY",
	}
	if diff := cmp.Diff(want, f.imported(vault.Source{Format: vault.FormatKubernetes, Path: path, Like: like})); diff != "" {
		t.Error(diff)
	}
}

func TestImportSystemdAndKV(t *testing.T) {
	f := newVault(t, "")
	dir := t.TempDir()
	f.must(os.WriteFile(filepath.Join(dir, "smtp-password"), []byte("from systemd\n\x00"), 0o600))
	f.must(os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600))
	f.must(os.Symlink("/etc/passwd", filepath.Join(dir, "a-link")))
	f.must(os.Mkdir(filepath.Join(dir, "a-directory"), 0o700))
	want := map[string]string{"acme/app/smtp-password password": "from systemd\n\x00"}
	if diff := cmp.Diff(want, f.imported(vault.Source{Format: vault.FormatSystemd, Path: dir, Like: like})); diff != "" {
		t.Error(diff)
	}
	path := file(t, `{"request_id":"1","data":{"data":{"password":"from kv","port":389},"metadata":{"version":2}}}`)
	want["acme/app/password password"] = "from kv"
	if diff := cmp.Diff(want, f.imported(vault.Source{Format: vault.FormatKV, Path: path, Like: like})); diff != "" {
		t.Error(diff)
	}
	f.must(os.WriteFile(filepath.Join(dir, "large"), make([]byte, vault.MaxValue+1), 0o600))
	if _, err := f.Import(t.Context(), otto, vault.Source{Format: vault.FormatSystemd, Path: dir, Like: like}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error(err)
	}
}

func TestAnOldPlaceIsCleanWhenNothingIsLeft(t *testing.T) {
	f := newVault(t, "")
	path := file(t, "PASSWORD=one\nTOKEN=two\nOTHER=three\n")
	s := vault.Source{Format: vault.FormatEnv, Path: path, Only: []string{"PASSWORD", "TOKEN"}, Like: like}
	old, err := f.Import(t.Context(), otto, s)
	f.must(err)
	if len(old) != 2 || old[0].Kept || old[0].Where != "env:"+path+":1" {
		t.Errorf("%+v", old)
	}
	// Once more: nothing new comes in, and nothing is replaced.
	f.must(os.WriteFile(path, []byte("PASSWORD=another\nTOKEN=\n"), 0o600))
	s.Only = nil
	old, err = f.Import(t.Context(), otto, s)
	f.must(err)
	if len(old) != 1 || !old[0].Kept {
		t.Errorf("%+v", old)
	}
	page, _, err := f.List(t.Context(), otto, store.EntrustedFilter{Account: "PASSWORD"}, store.PageRequest{})
	f.must(err)
	f.reveals(page.Items[0].ID, "one")
	for text, want := range map[string]int{"PASSWORD=one\nTOKEN=two\n": 2, "PASSWORD=something else\nNEW=x": 1, "PASSWORD=\nNEW=x\n": 0, "": 0} {
		f.must(os.WriteFile(path, []byte(text), 0o600))
		left, err := f.Left(t.Context(), otto, s)
		if err != nil || len(left) != want {
			t.Errorf("%q: %+v, %v", text, left, err)
		}
	}
	f.must(os.Remove(path))
	if left, err := f.Left(t.Context(), otto, s); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
}

// What cannot be read says where, and quotes nothing of it.
func TestAnImportThatFailsQuotesNothing(t *testing.T) {
	f := newVault(t, "")
	for name, s := range map[string]struct{ format, text string }{
		"no variable":       {vault.FormatEnv, "A=1\nhunter-2\n"},
		"an open quote":     {vault.FormatEnv, "A='hunter-2\n"},
		"no column":         {vault.FormatCSV, "account,value,hunter-2\n"},
		"a bare quote":      {vault.FormatCSV, "account,value\na,hunter-2\"x\n"},
		"too many cells":    {vault.FormatCSV, "account,value\na,hunter-2,x\n"},
		"no base64":         {vault.FormatCSV, "account,value_base64\na,hunter-2\n"},
		"no YAML":           {vault.FormatKubernetes, "kind: Secret\ndata: {a: hunter-2\n"},
		"an alias":          {vault.FormatKubernetes, "kind: Secret\nstringData: &a {b: hunter-2, c: *a}\n"},
		"data not base64":   {vault.FormatKubernetes, "kind: Secret\ndata: {a: hunter-2}\n"},
		"data of a list":    {vault.FormatKubernetes, "kind: Secret\ndata: [hunter-2]\n"},
		"too deep":          {vault.FormatKubernetes, "a: " + strings.Repeat("[", 40) + "hunter-2" + strings.Repeat("]", 40)},
		"not KV":            {vault.FormatKV, `{"data":{"password":"hunter-2"}}`},
		"not JSON":          {vault.FormatKV, `hunter-2`},
		"a value too large": {vault.FormatEnv, "A=hunter-2" + strings.Repeat("x", vault.MaxValue)},
		"no account":        {vault.FormatCSV, "account,value\n,hunter-2\n"},
	} {
		_, err := f.Import(t.Context(), otto, vault.Source{Format: s.format, Path: file(t, s.text), Like: like})
		if !errors.Is(err, tallystick.ErrInvalid) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if page, _, err := f.List(t.Context(), otto, store.EntrustedFilter{}, store.PageRequest{}); err != nil || len(page.Items) > 0 {
		t.Error("something came in:", page.Items, err)
	}
}
